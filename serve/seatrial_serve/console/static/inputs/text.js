/** A text, with how long it is. */

import { make } from "../dom.js";
import { count } from "../format.js";

export function textInput({ schema, nullable }) {
  const length = make("span", { class: "count" });
  const show = () => (length.textContent = `${count([...control.value].length)} of ${count(schema.maxLength)}`);
  const control = make("textarea", { rows: 4, oninput: show });
  const fill = (value) => {
    control.value = value ?? "";
    show();
  };
  return { control, element: make("div", { class: "grows" }, control, length), fill, value: () => ({ json: control.value || !nullable ? JSON.stringify(control.value) : "null" }) };
}
