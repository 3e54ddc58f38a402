/** A text of the form with parts of it marked. Places count code points, as the server has them. */

import { make } from "../dom.js";
import { coloured } from "./bars.js";

/** The text that an answer is about; of a pair, the one that is named, or else the second. */
export function textOf({ json, kind }, name) {
  const value = JSON.parse(json);
  return typeof value === "string" ? value : value[name ?? kind.texts?.at(-1)];
}

/** `parts`: `{start, end, tag, hue}` each; of those that overlap only the first is marked. Throws `RangeError` for one beyond the text. */
export function markedText(text, parts) {
  const letters = Array.from(text);
  const pieces = [];
  let at = 0;
  for (const { start, end, tag, hue } of parts.toSorted((a, b) => a.start - b.start)) {
    if (!(start >= 0 && start < end && end <= letters.length)) throw new RangeError(`a part from ${start} to ${end} of ${letters.length} characters`);
    if (start < at) continue;
    const part = letters.slice(start, end).join("");
    pieces.push(letters.slice(at, start).join(""), coloured(make("mark", {}, part, tag && make("span", { class: "tag" }, tag)), hue));
    at = end;
  }
  pieces.push(letters.slice(at).join(""));
  return make("div", { class: "marked", dir: "auto", tabindex: 0, role: "region", "aria-label": "The text" }, pieces);
}
