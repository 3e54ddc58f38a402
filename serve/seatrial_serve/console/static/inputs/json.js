/** Anything else, a tensor say, as JSON. */

import { Refused } from "../api.js";
import { make } from "../dom.js";

export function jsonInput({ name, schema, nullable }) {
  const control = make("textarea", { rows: 4, class: "mono", spellcheck: "false" });
  const value = () => {
    if (nullable && !control.value.trim()) return { json: "null" };
    try {
      JSON.parse(control.value);
    } catch {
      throw new Refused(`got no JSON, want ${schema["x-want"] ?? "JSON"}`, "", { field: name });
    }
    return { json: control.value.trim() };
  };
  return { control, element: control, fill: (example) => (control.value = JSON.stringify(example)), value };
}
