/** A chart: uPlot in our colours, as wide as its place, with its last values in words. */

import { make } from "./dom.js";
import { clock, number } from "./format.js";
import uPlot from "./vendor/uPlot.esm.js";

/** A colour of the style sheet as the canvas needs it; it follows the theme. */
function colour(name, element) {
  element.style.color = `var(${name})`;
  return getComputedStyle(element).color;
}

/** Points that stand alone, which a line would not show. */
function lonely(plot, series) {
  const values = plot.data[series];
  const alone = (_, at) => values[at] !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null;
  return values.map((_, at) => at).filter((at) => alone(values[at], at));
}

/** Of a logarithmic scale's lines, those at powers of ten. */
function decades(_, splits) {
  return splits.map((at) => (Number.isInteger(Math.round(Math.log10(at) * 1e6) / 1e6) ? at : null));
}

export class Chart {
  /**
   * `series`: `{label, colour, dash, width, paths, fill, dots}` each, `dots` for points without a line; `x` and `y` are uPlot's scales, `axis` its x axis.
   * `value` writes a value, `where` a place on x; with `latest` the legend shows the last values where nobody points.
   */
  constructor({ title, series, height = 200, time = true, latest = time, legend = true, value = number, where = clock, y = {}, x = {}, sync, axis = {} }) {
    Object.assign(this, { title, series, value, latest });
    this.place = make("div", { class: "plot", role: "img", "aria-label": `${title}: nothing yet` });
    this.element = make("figure", { class: "chart" }, make("figcaption", {}, title), this.place);
    const ink = (name) => () => colour(name, this.place);
    const axes = { stroke: ink("--soft"), grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line"), width: 1 }, font: "12px system-ui" };
    this.plot = new uPlot(
      {
        width: 300, height, legend: { show: legend, markers: { width: 0, fill: (_, at) => at > 0 && `var(${series[at - 1].colour})` } }, cursor: { drag: { x: false, y: false }, sync: sync && { key: sync } },
        scales: { x: { time, ...x }, y },
        axes: [{ ...axes, values: (_, splits) => splits.map(where), space: 90, ...axis }, { ...axes, ...(y.distr === 3 && { grid: { ...axes.grid, filter: decades }, ticks: { ...axes.ticks, filter: decades } }), size: 64, values: (_, splits) => splits.map((split) => (split === null ? "" : value(split))) }],
        series: [
          { label: "At", value: (_, at) => (at === null || at === undefined ? "–" : where(at)) },
          ...series.map((one) => ({
            label: one.label, stroke: ink(one.colour), fill: one.fill && ink(one.fill), dash: one.dash, width: one.width ?? 2, paths: one.dots ? () => null : one.paths,
            points: { show: !one.paths, size: one.dots ? 8 : 5, fill: ink(one.colour), filter: one.dots ? undefined : lonely }, value: (_, at) => value(at),
          })),
        ],
      },
      series.map(() => []).concat([[]]), this.place,
    );
    this.fit = () => {
      this.plot.setSize({ width: Math.max(200, this.place.clientWidth), height });
      this.showLatest();
    };
    new ResizeObserver(this.fit).observe(this.place);
    this.recolour = () => (this.place.isConnected ? this.plot.redraw(false, true) : removeEventListener("themechange", this.recolour));
    addEventListener("themechange", this.recolour);
  }

  /** Columns: x, then one for each series. */
  show(columns) {
    this.plot.setData(columns);
    const last = columns[0].length - 1;
    if (last < 0) return;
    const measured = columns.map((column) => column.some((one) => one !== null));
    this.element.querySelectorAll(".u-series").forEach((row, at) => (row.hidden = !measured[at]));
    this.showLatest();
    const words = this.series.map(({ label }, at) => measured[at + 1] && `${label} ${this.value(columns[at + 1].findLast((one) => one !== null))}`);
    this.place.setAttribute("aria-label", `${this.title}: ${words.filter(Boolean).join(", ")}`);
  }

  /** The last values in the legend, unless somebody points at others. */
  showLatest() {
    const last = this.plot.data[0].length - 1;
    if (this.latest && last >= 0 && (this.plot.cursor.idx ?? null) === null) this.plot.setLegend({ idx: last }, false);
  }
}

/** uPlot's own shapes for the values of a series. */
export const bars = () => uPlot.paths.bars({ size: [0.8, 60] });
export const steps = () => uPlot.paths.stepped({ align: 1 });
