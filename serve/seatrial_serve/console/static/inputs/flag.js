/** True or false, or neither where a flag may be missing. */

import { make } from "../dom.js";
import { choiceInput } from "./choice.js";

export function flagInput(field) {
  if (field.nullable) return choiceInput({ ...field, schema: { ...field.schema, enum: [true, false] } });
  const control = make("input", { type: "checkbox" });
  return { control, element: control, fill: (value) => (control.checked = value), value: () => ({ json: String(control.checked) }) };
}
