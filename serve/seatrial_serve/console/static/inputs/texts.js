/** Several texts of one field, by name: a pair, say. */

import { make } from "../dom.js";
import { textInput } from "./text.js";

export function textsInput({ name: field, schema, id }) {
  const texts = Object.entries(schema.properties).map(([name, one]) => ({ name, ...textInput({ schema: one }) }));
  const elements = texts.map(({ name, control, element }, at) => {
    if (at) control.id = `${id}.${name}`; // the first has the field's own
    control.setAttribute("aria-label", `${field}, ${name}`);
    return make("div", { class: "grows" }, make("span", { class: "soft", "aria-hidden": "true" }, name), element);
  });
  return {
    control: texts[0].control,
    element: make("div", { class: "grows" }, elements),
    fill: (example) => texts.forEach(({ name, fill }) => fill(example[name])),
    value: () => ({ json: `{${texts.map(({ name, value }) => `${JSON.stringify(name)}: ${value().json}`).join(", ")}}` }),
  };
}
