/** What a receipt says beside verdicts: how far off answers are, what variants cost, how a parity budget was met, how a temperature was found. */

import { Chart } from "./chart.js";
import { fold, table } from "./dom.js";
import { bytes, count, number, percent, seconds } from "./format.js";

/** How many rows were how far off, up to each of `edges` and beyond, for each trial that counted them; what no trial reached is left out. */
export function errors(trials, edges, through, receipt) {
  const counted = trials.filter(({ errors: counts }) => counts.length);
  const names = ["exact", ...edges.map((edge) => `up to ${edge.toExponential(0).replace("+", "")}`), "more"];
  const used = [...names.keys()].filter((place) => counted.some(({ errors: counts }) => counts[place]));
  if (!used.length) return "";
  const heads = ["Through", "Variant", "Rows at once", ...used.map((place) => names[place])];
  const rows = counted.map((trial) => [through(trial), trial.variant, trial.batch_sizes.join(", ") || "–", ...used.map((place) => count(trial.errors[place]))]);
  return fold("How far off: rows by their worst error", table(`Errors ${receipt}`, heads, rows));
}

/** Each variant's size, speed beside fp32 and memory. */
export function costs(trials, receipt) {
  const priced = trials.filter(({ cost }) => cost);
  if (!priced.length) return "";
  const sizes = [...new Set(priced.flatMap(({ cost }) => Object.keys(cost.speed)))].sort((one, other) => one - other);
  const heads = ["Variant", "Size", ...sizes.flatMap((rows) => [rows === "1" ? "1 row" : `${rows} rows`, "beside fp32"]), "Peak memory", "Batch independence"];
  const rows = priced.map(({ variant, cost }) => [
    variant, bytes(cost.size_bytes), ...sizes.flatMap((size) => [seconds(cost.seconds[size]), cost.speed[size] ? `${cost.speed[size].toFixed(2)}×` : "–"]),
    cost.peak_memory_bytes ? bytes(cost.peak_memory_bytes) : "–", number(cost.batch_error),
  ]);
  return fold("What variants cost on that machine", table(`Costs ${receipt}`, heads, rows));
}

/** Each search within a parity budget: what was tried, and what was chosen. */
export function searches(found, receipt) {
  return found.map((search) => {
    const byCosine = ({ measures }) => (measures.cosine ?? null) !== null;
    const distance = (point) => (byCosine(point) ? 1 - point.measures.cosine : point.measures.max_error ?? 0);
    const name = search.points.some(byCosine) ? "1 - mean cosine" : "Largest error";
    const said = (point, place) => (place === search.chosen ? "chosen" : point.met ? "keeps it" : place === search.nearest ? "misses it, the nearest" : "misses it");
    const rows = search.points.map((point, place) => [`${point.keep.length} of ${search.nodes}`, number(distance(point)), `${point.speed.toFixed(2)}×`, percent(point.measures.agreement), said(point, place)]);
    const opened = fold(
      `Search for ${search.variant}: ${search.budget}, ${search.chosen === null ? "met by nothing" : "met"}`,
      table(`Search for ${search.variant} ${receipt}`, ["Nodes kept in fp32", name, "Speed beside fp32", "Agreement", "The budget"], rows),
    );
    opened.addEventListener("toggle", () => opened.append(curve(search, name, distance)), { once: true });
    return opened;
  });
}

/** Speed against error: the choice, and what else was tried. */
function curve(search, name, distance) {
  const order = search.points.map((_, place) => place).sort((one, other) => distance(search.points[one]) - distance(search.points[other]));
  const column = (wanted) => order.map((place) => (wanted(place) ? search.points[place].speed : null));
  const chart = new Chart({
    title: `Speed beside fp32 against ${name.toLowerCase()}, ${search.variant}`, time: false, where: number, x: { range: (_, least, most) => [least - (most - least || 1) * 0.05, most + (most - least || 1) * 0.05] },
    series: [{ label: "tried", colour: "--curve-1", dots: true }, { label: "chosen", colour: "--curve-2", dots: true }],
  });
  requestAnimationFrame(chart.fit);
  chart.show([order.map((place) => distance(search.points[place])), column((place) => place !== search.chosen), column((place) => place === search.chosen)]);
  return chart.element;
}

/** Temperatures that export fitted on held-out rows. */
export function temperatures(found, receipt) {
  if (!found.length) return "";
  const heads = ["Output", "Temperature", "Rows", "Calibration error before", "and after", "Loss before", "and after"];
  const rows = found.map((one) => [one.output, number(one.temperature), count(one.rows), number(one.error_before), number(one.error_after), number(one.loss_before), number(one.loss_after)]);
  return fold("Temperatures that were fitted", table(`Temperatures ${receipt}`, heads, rows));
}
