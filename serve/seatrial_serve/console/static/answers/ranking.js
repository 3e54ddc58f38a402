/** A ranking: the row's items by their scores, counted from 0 as they stand in the row. */

import { make } from "../dom.js";
import { firstOf, scoreBars } from "./bars.js";

export function rankingAnswer(ranked) {
  const scored = ranked.map(({ index, score }) => [`item ${index}`, score]);
  if (!scored.length) return [make("p", { class: "soft" }, "No item"), "no item"];
  const { element, say } = scoreBars(scored, { wins: scored[0][0] });
  return [element, firstOf(scored.map(([name, score]) => `${name}, ${say(score)}`))];
}
