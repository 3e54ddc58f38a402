/** Labels: a bar for each that reached its threshold. */

import { make } from "../dom.js";
import { firstOf, scoreBars } from "./bars.js";

export function labelsAnswer(found) {
  const scored = found.map(({ label, score }) => [label, score]);
  if (!scored.length) return [make("p", { class: "soft" }, "None reaches its threshold"), "none reaches its threshold"];
  const { element, say } = scoreBars(scored);
  return [element, firstOf(scored.map(([label, score]) => `${label}, ${say(score)}`))];
}
