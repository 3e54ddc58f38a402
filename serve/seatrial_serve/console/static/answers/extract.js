/** Extracted answers: the best marked in its text, and all of them with their scores. */

import { make } from "../dom.js";
import { firstOf, hueAt, scoreBars } from "./bars.js";
import { markedText, textOf } from "./text.js";

export function extractAnswer(found, { kind, about }) {
  const named = found.map(({ answer, score }) => [answer || "No answer in the text", score]);
  const text = textOf(about, kind.text);
  if (!found.length) return [make("div", {}, markedText(text, []), make("p", { class: "soft" }, "No answer")), "no answer"];
  const [best] = found;
  const { element, say } = scoreBars(named, { wins: named[0][0] });
  const winner = make("p", { class: "winner" }, make("strong", { dir: "auto" }, named[0][0]), ` ${say(best.score)}`);
  const place = { start: best.start, end: best.end, hue: hueAt(0) };
  return [make("div", {}, winner, markedText(text, best.answer ? [place] : []), element), firstOf(named.map(([name, score]) => `${name}, ${say(score)}`))];
}
