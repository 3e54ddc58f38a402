/** Drift: how the sampled traffic is spread over each field's bins, beside the reference that was sealed with the model. */

import { Chart, bars, steps } from "./chart.js";
import { fold, make, table } from "./dom.js";
import { count, percent } from "./format.js";

/** What is usually called a small shift, and a large one; of fewer values than `FEW` the index says nothing. */
const SMALL = 0.1, LARGE = 0.2, FEW = 100;

/** A bin's name for an axis: "below 14.35" is "<14.35", "14.35 to 15.05" begins at "14.35". */
const brief = (bin = "") => bin.replace("below ", "<").replace("from ", "≥").replace(/ to .*/, "").slice(0, 12);

export class Drift {
  constructor() {
    this.fields = new Map();
    this.grid = make("div", { class: "charts small" });
    this.tables = make("div", {});
    this.element = make(
      "div", { hidden: true },
      make("h3", {}, "Drift"),
      make("p", { class: "soft" }, `Shares of the traffic since the server started (filled) beside the reference at export (outlined). Point at a bin to read it. How far they are apart (PSI) is shown from ${FEW} values on.`),
      this.grid, fold("As tables", this.tables),
    );
  }

  /** `fields`: for each its bins, and the share of each then (`reference`) and now (`live`, null before any value came). */
  show(fields) {
    this.element.hidden = !fields.length;
    for (const field of fields) {
      if (!this.fields.has(field.field)) this.add(field);
      const { chart, said } = this.fields.get(field.field);
      const places = field.bins.map((_, place) => place);
      chart.show([places, field.live ?? field.bins.map(() => null), field.reference]);
      const enough = field.seen >= FEW;
      said.textContent = enough ? `PSI ${field.psi.toFixed(3)} of ${count(field.seen)} values` : `${count(field.seen)} of ${FEW} values`;
      said.className = enough ? `badge ${field.psi >= LARGE ? "bad" : field.psi >= SMALL ? "wait" : "good"}` : "few";
    }
    const open = this.tables.parentElement.open;
    if (open) this.tables.replaceChildren(...fields.map(asTable));
  }

  add({ field, bins }) {
    const chart = new Chart({
      title: field, height: 150, time: false, value: percent,
      x: { range: () => [-0.6, bins.length - 0.4] },
      y: { range: (_, __, most) => [0, Math.max(0.1, (most ?? 0) * 1.1)] },
      where: (at) => bins[at], axis: { space: 60, incrs: [1, 2, 5, 10, 20], values: (_, splits) => splits.map((at) => brief(bins[at])) },
      series: [{ label: "now", colour: "--curve-1", fill: "--curve-1", paths: bars(), width: 0 }, { label: "reference", colour: "--curve-2", paths: bars() }],
    });
    const said = make("span", {});
    chart.element.querySelector("figcaption").append(" ", said);
    this.fields.set(field, { chart, said });
    this.grid.append(chart.element);
  }
}

function asTable({ field, bins, live, reference }) {
  return table(`Drift of ${field}`, ["Bin", "Reference", "Now"], bins.map((bin, place) => [bin, percent(reference[place]), live ? percent(live[place]) : "–"]));
}
