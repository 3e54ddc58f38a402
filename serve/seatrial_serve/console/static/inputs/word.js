/** A word, some of which are known. */

import { make } from "../dom.js";

export function wordInput({ schema, nullable, id }) {
  const control = make("input", { type: "text", list: `${id}-known`, autocomplete: "off" });
  const known = make("datalist", { id: `${id}-known` }, schema.examples.map((word) => make("option", { value: word })));
  return {
    control,
    element: make("div", { class: "grows" }, control, known),
    fill: (value) => (control.value = value ?? ""),
    value: () => ({ json: control.value || !nullable ? JSON.stringify(control.value) : "null" }),
  };
}
