/** A transcript: the text that the model answers. */

import { make } from "../dom.js";
import { cut } from "./plain.js";
import { markedText } from "./text.js";

const ALOUD = 200;

export function transcriptAnswer(text) {
  if (typeof text !== "string") throw new TypeError("a transcript is no text");
  if (!text) return [make("p", { class: "soft" }, "No text"), "no text"];
  return [markedText(text, []), cut(text, ALOUD)];
}
