/** Spans: marked in the text that they are of, and listed with their scores. */

import { make } from "../dom.js";
import { firstOf, hueAt, scoreBars } from "./bars.js";
import { markedText, textOf } from "./text.js";

export function spansAnswer(spans, { schema, about }) {
  const labels = schema.items?.properties?.label?.enum ?? [];
  const parts = spans.map(({ start, end, label }) => ({ start, end, tag: label, hue: hueAt(labels.indexOf(label)) }));
  const text = markedText(textOf(about), parts);
  if (!spans.length) return [make("div", {}, text, make("p", { class: "soft" }, "No span")), "no span"];
  const { element } = scoreBars(spans.map((span) => [`${span.label}: ${span.text}`, span.score]));
  return [make("div", {}, text, element), firstOf(spans.map((span) => `${span.label} ${span.text}`))];
}
