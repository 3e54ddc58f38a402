/** What differs between two versions' answers to one row, in a sentence. */

import { number } from "./format.js";

/** `[place, value]` of everything that is no object or list. */
function leaves(value, place = "") {
  if (value === null || typeof value !== "object" || value.rawJSON) return [[place, value]];
  return Object.entries(value).flatMap(([name, inner]) => leaves(inner, place ? `${place}.${name}` : name));
}

/** `one` and `other` are predictions of a row. */
export function difference(one, other) {
  const [here, there] = [new Map(leaves(one)), new Map(leaves(other))];
  const shared = [...here.keys()].filter((place) => there.has(place));
  const alone = here.size + there.size - 2 * shared.length;
  const words = shared.filter((place) => typeof here.get(place) !== "number" && String(here.get(place)) !== String(there.get(place)));
  const moves = shared.filter((place) => typeof here.get(place) === "number" && typeof there.get(place) === "number")
    .map((place) => [Math.abs(here.get(place) - there.get(place)), place]);
  const [most, at] = moves.reduce((best, one) => (one[0] > best[0] ? one : best), [0, ""]);
  const parts = [
    ...words.slice(0, 3).map((place) => `${place}: ${short(here.get(place))}, ${short(there.get(place))}`),
    words.length > 3 && `${words.length - 3} more words differ`,
    most > 0 && `largest move ${number(most)} at ${at}`,
    alone > 0 && `${alone} values of one answer alone`,
  ].filter(Boolean);
  return parts.length ? parts.join("; ") : "Both answer the same.";
}

const short = (value) => String(value).slice(0, 80);
