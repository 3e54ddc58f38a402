/** A number, handed on digit by digit: the server is the judge, and no whole number loses its end on the way. */

import { make } from "../dom.js";
import { digits } from "../json.js";

const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

export function numberInput({ schema, nullable, id }) {
  const positive = (schema.minimum ?? schema.exclusiveMinimum ?? -1) >= 0; // the keypad of some phones has no minus
  const mode = positive ? (schema.type === "integer" ? "numeric" : "decimal") : "text";
  const known = schema.examples && make("datalist", { id: `${id}-known` }, schema.examples.map((number) => make("option", { value: number })));
  const control = make("input", { type: "text", inputmode: mode, autocomplete: "off", spellcheck: "false", ...(known && { list: known.id }) });
  const element = known ? make("div", { class: "grows" }, control, known) : control;
  return { control, element, fill: (value) => (control.value = digits(value ?? "")), value: () => numberOf(control.value.trim(), nullable) };
}

function numberOf(text, nullable) {
  if (!text) return nullable ? { json: "null" } : undefined;
  if (JSON_NUMBER.test(text)) return { json: text };
  return { json: JSON.stringify(Number.isFinite(Number(text)) ? Number(text) : text) };
}
