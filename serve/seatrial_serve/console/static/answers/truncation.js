/** A truncation: which part of a text the model read. */

import { make } from "../dom.js";
import { count } from "../format.js";
import { hueAt } from "./bars.js";
import { markedText, textOf } from "./text.js";

export function truncationAnswer({ truncated, start, end }, { kind, about }) {
  const words = truncated ? `cut: characters ${count(start)} to ${count(end)} were read` : "the whole text was read";
  const text = truncated && markedText(textOf(about, kind.text), start < end ? [{ start, end, hue: hueAt(0) }] : []);
  return [make("div", {}, make("p", { class: "soft" }, words), text), words];
}
