/** A forecast: a curve for each quantile over the steps ahead, and a table of the first steps. */

import { Chart } from "../chart.js";
import { fold, make, table } from "../dom.js";
import { count, float32, number } from "../format.js";

const CURVES = 5;
const STEPS = 100;

export function forecastAnswer(value, { kind }) {
  const names = Object.keys(value);
  const steps = value[names[0]].length;
  if (!names.every((name) => value[name].length === steps && value[name].every((one) => typeof one === "number"))) throw new TypeError("no steps of numbers");
  const unit = kind.unit ? `, ${kind.unit}` : "";
  const shown = spread(names);
  const middle = names[names.length >> 1];
  const chart = new Chart({
    title: `Quantiles by step ahead${unit}`, time: false, latest: true, where: (at) => (Number.isInteger(at) ? String(at) : ""),
    series: shown.map((name, at) => ({ label: name, colour: `--curve-${at + 1}`, width: name === middle ? 3 : 1.5 })),
  });
  const places = Array.from({ length: steps }, (_, step) => step + 1);
  chart.show([places, ...shown.map((name) => value[name])]);
  const rows = places.slice(0, STEPS).map((place) => [String(place), ...shown.map((name) => float32(value[name][place - 1]))]);
  const title = steps > STEPS ? `The first ${STEPS} of ${count(steps)} steps` : `All ${count(steps)} steps`;
  const element = make("div", {}, chart.element, fold(title, table(`${title}${unit}`, ["Step", ...shown], rows)));
  return [element, `${count(steps)} steps, ${middle}: ${number(value[middle][0])} to ${number(value[middle].at(-1))}${unit}`];
}

/** Of many names a few, evenly, the outer ones and the middle among them. */
function spread(names) {
  if (names.length <= CURVES) return names;
  return Array.from({ length: CURVES }, (_, at) => names[Math.round((at * (names.length - 1)) / (CURVES - 1))]);
}
