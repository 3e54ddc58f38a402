/** True or false. */

import { make } from "../dom.js";

export function flagInput() {
  const control = make("input", { type: "checkbox" });
  return { control, element: control, fill: (value) => (control.checked = value), value: () => ({ json: String(control.checked) }) };
}
