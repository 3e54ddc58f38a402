/** A label: the winner, and a bar for the score of every class. */

import { fold, make } from "../dom.js";
import { number, percent } from "../format.js";

const AT_ONCE = 10;

export function labelAnswer({ label, scores }) {
  const sorted = Object.entries(scores).sort(([, a], [, b]) => b - a);
  const values = sorted.map(([, score]) => score);
  const shares = values.every((score) => score >= 0 && score <= 1);
  const range = shares ? { min: 0, max: 1 } : { min: Math.min(0, ...values), max: Math.max(...values) };
  const say = shares ? percent : number;
  const bars = sorted.map(([name, score]) => bar(name, score, range, say, name === label));
  const rest = bars.slice(AT_ONCE);
  const element = make(
    "div", {},
    make("p", { class: "winner" }, make("strong", {}, label), ` ${say(scores[label])}`),
    make("ul", { class: "bars" }, bars.slice(0, AT_ONCE)),
    rest.length ? fold(`${rest.length} more`, make("ul", { class: "bars" }, rest)) : "",
  );
  return [element, `${label}, ${say(scores[label])}`];
}

function bar(name, score, range, say, wins) {
  return make(
    "li", { class: wins && "wins" },
    make("span", { class: "class" }, name), make("meter", { ...range, value: score, "aria-label": name }), make("span", { class: "score" }, say(score)),
  );
}
