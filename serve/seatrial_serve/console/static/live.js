/** What this version does right now: asked for once a second, while it is in sight. */

import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { Drift } from "./drift.js";
import { facts, make } from "./dom.js";
import { count, number, percent, seconds } from "./format.js";

const EVERY_MS = 1000;
const LEAST_S = 60, MOST_S = 300;
const GAP_S = 5;
const PHASES = { total: 1, queue: 2, front: 3, run: 4, prepare: 5, encode: 6 };
const LINES = Object.keys(PHASES);

export class Live {
  constructor(name, version) {
    this.query = `model=${encodeURIComponent(name)}&version=${version.version}`;
    this.objective = version.contract.objective.p99_s;
    this.points = { at: [] };
    this.charts = this.makeCharts();
    this.drift = new Drift();
    this.codes = make("div", {});
    this.note = make("p", { class: "soft" }, "Numbers only, no payloads; sampled each second while somebody looks, kept for five minutes.");
    this.element = make(
      "section", { class: "card", "aria-labelledby": "live" },
      make("h2", { id: "live" }, "Live"), this.note,
      make("div", { class: "charts" }, Object.values(this.charts).map((chart) => chart.element)), this.codes, this.drift.element,
    );
    this.timer = setInterval(() => document.hidden || this.look(), EVERY_MS);
    this.look();
  }

  makeCharts() {
    const common = { sync: "live", x: { range: (_, first, last) => [Math.min(first ?? 0, (last ?? 0) - LEAST_S), last ?? 0] } };
    const fromZero = { range: (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)] };
    const log = { distr: 3, range: (_, least, most) => [10 ** Math.floor(Math.log10(least || 1e-4)), 10 ** Math.ceil(Math.log10((most || 0.01) * 1.001))] };
    const phases = LINES.map((label) => ({ label, colour: `--curve-${PHASES[label]}` }));
    const objective = this.objective ? [{ label: "objective", colour: "--bad", dash: [6, 4], width: 1 }] : [];
    return {
      rate: new Chart({ ...common, title: "Requests per second", y: fromZero, series: [{ label: "answered", colour: "--curve-1" }, { label: "refused or failed", colour: "--curve-2" }] }),
      batch: new Chart({ ...common, title: "Rows", y: fromZero, series: [{ label: "in a batch", colour: "--curve-1" }, { label: "waiting", colour: "--curve-2" }] }),
      p50: new Chart({ ...common, title: "Latency by phase, p50", y: log, value: seconds, series: phases }),
      p99: new Chart({ ...common, title: "Latency by phase, p99", y: log, value: seconds, series: [...phases, ...objective] }),
    };
  }

  async look() {
    if (this.looking) return;
    this.looking = true;
    try {
      const said = await ask(`console/series?${this.query}&since=${this.points.at.at(-1) ?? 0}`);
      if (!said.measured) this.note.textContent = "This server measures nothing: it was started with its metrics off.";
      this.take(said.points);
      this.draw();
      this.codes.replaceChildren(...outcomes(said));
      this.drift.show(said.drift);
    } finally {
      this.looking = false;
    }
  }

  /** Add new points behind those that are here; where nobody looked for a while, the lines break. */
  take(points) {
    const rows = points.at.map((at, place) => ({
      at, answered: points.answered[place], refused: points.refused[place], batch: points.batch_rows[place], waiting: points.waiting_rows[place],
      ...Object.fromEntries(["p50", "p99"].flatMap((name) => LINES.map((phase) => [`${name} ${phase}`, points[name][phase]?.[place] ?? null]))),
    }));
    for (const row of rows) {
      const last = this.points.at.at(-1);
      if (row.at - last > GAP_S) this.add({ at: (last + row.at) / 2 });
      this.add(row);
    }
    while (this.points.at.at(-1) - this.points.at[0] > MOST_S) Object.values(this.points).forEach((column) => column.shift());
  }

  /** A row behind the others, with nothing where it has nothing. */
  add(row) {
    for (const name of new Set([...Object.keys(this.points), ...Object.keys(row)])) {
      this.points[name] ??= this.points.at.map(() => null);
      if (name !== "at") this.points[name].push(row[name] ?? null);
    }
    this.points.at.push(row.at);
  }

  draw() {
    const column = (name) => this.points[name] ?? [];
    const { at } = this.points;
    if (!at.length) return;
    this.charts.rate.show([at, column("answered"), column("refused")]);
    this.charts.batch.show([at, column("batch"), column("waiting")]);
    this.charts.p50.show([at, ...LINES.map((phase) => column(`p50 ${phase}`))]);
    const objective = this.objective ? [at.map(() => this.objective)] : [];
    this.charts.p99.show([at, ...LINES.map((phase) => column(`p99 ${phase}`)), ...objective]);
  }

  close() {
    clearInterval(this.timer);
  }
}

/** Since the server started: how requests ended, what answers were worked out again, and what turned out to be true of them. */
function outcomes({ codes, live_parity: checked, feedback: told }) {
  const groups = {
    "Since the server started": Object.entries(codes).map(([code, times]) => [code === "ok" ? "answered" : code, count(times)]),
    "Live parity, on the fp32 graph": checked.answers ? [["worked out again", count(checked.answers)], ["broke a promise", count(checked.violations)]] : [],
    "Feedback": told.right || told.wrong ? [
      ["labels right", count(told.right ?? 0)], ["labels wrong", count(told.wrong ?? 0)],
      ["accuracy of the last", percent(told.accuracy)], ["calibration error of the last", told.calibration_error === undefined ? "" : number(told.calibration_error)],
    ] : [],
  };
  return Object.entries(groups).filter(([, pairs]) => pairs.length).map(([title, pairs]) => make("div", {}, make("h3", {}, title), facts(pairs)));
}
