/** A sparse embedding: the terms of the vocabulary that weigh something, the heaviest first. */

import { make } from "../dom.js";
import { firstOf, scoreBars } from "./bars.js";

export function sparseEmbeddingAnswer(terms) {
  const scored = terms.map(({ index, value }) => [`term ${index}`, value]).sort((a, b) => b[1] - a[1]);
  if (!scored.length) return [make("p", { class: "soft" }, "No term"), "no term"];
  const { element, say } = scoreBars(scored, { wins: scored[0][0] });
  return [element, firstOf(scored.map(([name, value]) => `${name}, ${say(value)}`))];
}
