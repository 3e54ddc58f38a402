/** One of a few words. */

import { make } from "../dom.js";

export function choiceInput({ schema, nullable }) {
  const options = schema.enum.map((word) => make("option", { value: JSON.stringify(word) }, String(word)));
  const missing = nullable ? [make("option", { value: "null" }, "– missing –")] : [];
  const control = make("select", {}, options, missing);
  return { control, element: control, fill: (value) => (control.value = JSON.stringify(value)), value: () => ({ json: control.value }) };
}
