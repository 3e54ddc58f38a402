/** A label: the winner, and a bar for each score that came; labels: a bar for each that passed. */

import { fold, make } from "../dom.js";
import { number, percent } from "../format.js";

const AT_ONCE = 10;

export function labelAnswer({ label, scores, top }) {
  const sorted = top ? pairs(top) : Object.entries(scores).sort(([, a], [, b]) => b - a);
  const { list, say } = bars(sorted, label);
  const best = say(sorted[0][1]);
  return [make("div", {}, make("p", { class: "winner" }, make("strong", {}, label), ` ${best}`), list), `${label}, ${best}`];
}

export function labelsAnswer(found) {
  if (!found.length) return [make("p", { class: "soft" }, "None reaches its threshold"), "none"];
  const { list, say } = bars(pairs(found));
  return [list, found.map(({ label, score }) => `${label}, ${say(score)}`).join("; ")];
}

function pairs(found) {
  return found.map(({ label, score }) => [label, score]);
}

function bars(sorted, label) {
  const values = sorted.map(([, score]) => score);
  const shares = values.every((score) => score >= 0 && score <= 1);
  const range = shares ? { min: 0, max: 1 } : { min: Math.min(0, ...values), max: Math.max(...values) };
  const say = shares ? percent : number;
  const drawn = sorted.map(([name, score]) => bar(name, score, range, say, name === label));
  const rest = drawn.slice(AT_ONCE);
  const list = make(
    "div", {},
    make("ul", { class: "bars" }, drawn.slice(0, AT_ONCE)),
    rest.length ? fold(`${rest.length} more`, make("ul", { class: "bars" }, rest)) : "",
  );
  return { list, say };
}

function bar(name, score, range, say, wins) {
  return make(
    "li", { class: wins && "wins" },
    make("span", { class: "class" }, name), make("meter", { ...range, value: score, "aria-label": name }), make("span", { class: "score" }, say(score)),
  );
}
