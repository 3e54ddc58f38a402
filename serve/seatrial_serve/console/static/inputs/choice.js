/** One of a few words. */

import { make } from "../dom.js";
import { digits } from "../json.js";

export function choiceInput({ schema, nullable }) {
  const options = schema.enum.map((word) => make("option", { value: JSON.stringify(word) }, String(word)));
  const missing = nullable ? [make("option", { value: "null" }, "– missing –")] : [];
  const control = make("select", {}, options, missing);
  const fill = (value) => {
    control.value = JSON.stringify(value);
    if (control.selectedIndex >= 0) return;
    control.append(make("option", { value: JSON.stringify(value) }, digits(value))); // of a pasted row: the server refuses it
    control.value = JSON.stringify(value);
  };
  return { control, element: control, fill, value: () => ({ json: control.value }) };
}
