/** Anything as JSON, as much of it as anybody reads. */

import { source } from "../dom.js";
import { count } from "../format.js";

const AT_MOST = 50_000;
const ALOUD = 200;

export function plainAnswer(value) {
  return [jsonOf("The value as JSON", value), cut(JSON.stringify(value), ALOUD)];
}

export function jsonOf(label, value) {
  return source(label, cut(JSON.stringify(value, null, 2), AT_MOST));
}

export function cut(text, most) {
  return text.length > most ? `${text.slice(0, most)} … and ${count(text.length - most)} more characters` : text;
}
