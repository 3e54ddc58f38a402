/** A label: the winner, and a bar for each score that came: all of them, or the best. */

import { make } from "../dom.js";
import { scoreBars } from "./bars.js";

const LONG = 60; // characters; a longer label is written as text

export function labelAnswer({ label, scores, top }) {
  const sorted = top ? top.map((one) => [one.label, one.score]) : Object.entries(scores).sort(([, a], [, b]) => b - a);
  const { element, say } = scoreBars(sorted, { wins: label });
  const best = say(sorted[0][1]);
  return [make("div", {}, make("p", { class: label.length > LONG ? "winner long" : "winner" }, make("strong", {}, label), ` ${best}`), element), `${label}, ${best}`];
}
