/** A tensor: its shape, its statistics, and a curve of its values. */

import { facts, make } from "../dom.js";
import { number } from "../format.js";
import { curve } from "./curve.js";

const FEW = 8;

export function tensorAnswer(value) {
  const values = [value].flat(Infinity).map(Number);
  const shape = shapeOf(value);
  const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
  const norm = Math.sqrt(values.reduce((sum, one) => sum + one * one, 0));
  const [low, high] = values.reduce(([least, most], one) => [Math.min(least, one), Math.max(most, one)], [Infinity, -Infinity]);
  const first = `${values.slice(0, FEW).map(number).join(", ")}${values.length > FEW ? ", …" : ""}`;
  const words = `shape ${shape.join(" × ") || "scalar"}, from ${number(low)} to ${number(high)}`;
  const element = make(
    "div", {},
    facts([["Shape", shape.join(" × ") || "scalar"], ["Least", number(low)], ["Most", number(high)], ["Mean", number(mean)], ["Norm", number(norm)]]),
    make("p", { class: "mono" }, first),
    values.length > FEW && curve(values),
  );
  return [element, words];
}

function shapeOf(value) {
  return Array.isArray(value) ? [value.length, ...shapeOf(value[0])] : [];
}
