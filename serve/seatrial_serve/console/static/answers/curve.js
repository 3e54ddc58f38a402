/** Values by their index, as a curve. */

import { Chart } from "../chart.js";

export function curve(values) {
  const chart = new Chart({ title: "Values by index", series: [{ label: "value", colour: "--curve-1" }], height: 140, time: false, legend: false, where: String });
  chart.show([values.map((_, place) => place), values]);
  return chart.element;
}
