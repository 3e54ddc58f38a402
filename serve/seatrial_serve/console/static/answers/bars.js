/** Scores by name: a bar each, those beyond the first few behind a fold. */

import { fold, make } from "../dom.js";
import { count, number, percent } from "../format.js";

const AT_ONCE = 10;
const AT_MOST = 1000; // further elements would make the page slow, and nobody reads them

/**
 * `scored`: `[name, score]` each, in the order to show; `wins` is the name to point out, `hueOf` gives a name its colour.
 * Returns the element, and `say`, which writes a score. Throws `TypeError` where a score is no number.
 */
export function scoreBars(scored, { wins, hueOf } = {}) {
  if (!scored.every(([, score]) => typeof score === "number")) throw new TypeError("a score is no number");
  const scores = scored.map(([, score]) => score);
  const shares = scores.every((score) => score >= 0 && score <= 1);
  const least = scores.reduce((low, one) => Math.min(low, one), 0);
  const range = shares ? { min: 0, max: 1 } : { min: least, max: scores.reduce((high, one) => Math.max(high, one), least) };
  const say = shares ? percent : number;
  const bars = scored.slice(0, AT_MOST).map(([name, score]) => bar(String(name), score, range, say, name === wins, hueOf?.(name)));
  const rest = bars.slice(AT_ONCE);
  const element = make(
    "div", {},
    make("ul", { class: "bars" }, bars.slice(0, AT_ONCE)),
    rest.length > 0 && fold(`${count(scored.length - AT_ONCE)} more`, make("ul", { class: "bars" }, rest), unshown(scored.length - AT_MOST)),
  );
  return { element, say };
}

function unshown(many) {
  return many > 0 && make("p", { class: "soft" }, `${count(many)} more stand in the JSON below.`);
}

function bar(name, score, range, say, wins, hue) {
  return make(
    "li", { class: wins && "wins" },
    make("span", { class: "class" }, hue !== undefined && coloured(make("span", { class: "swatch" }), hue), name),
    make("meter", { ...range, value: score, "aria-label": name }), make("span", { class: "score" }, say(score)),
  );
}

/** Hues in degrees from blue on, the golden angle apart: neighbours are never alike. */
export const hueAt = (place) => Math.round(210 + Math.max(0, place) * 137.508) % 360;

/** An element that the style sheet colours by this hue. */
export function coloured(element, hue) {
  element.style.setProperty("--hue", hue);
  return element;
}

/** The first few of several in words, and how many there are more. */
export function firstOf(words, most = 5) {
  return words.slice(0, most).join("; ") + (words.length > most ? `; and ${count(words.length - most)} more` : "");
}
