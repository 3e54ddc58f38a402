/** What was true of an answer: told to the server, which counts how often the model is right. */

import { Refused, ask, pathOf } from "./api.js";
import { fold, make } from "./dom.js";
import { inputFor } from "./form.js";
import { jsonRequest, rowOf } from "./request.js";

/** `truth` is output -> JSON Schema, `values` those of the form, `prediction` what was answered. */
export function feedbackForm(name, version, truth, values, prediction) {
  const fields = Object.entries(truth).map(([output, schema]) => {
    const id = `truth-${version}-${output}`;
    const input = inputFor(schema)({ name: output, schema, nullable: false, id, changed: () => {} });
    input.control.id = id;
    input.fill(schema.type === "string" ? prediction[output]?.label ?? prediction[output] : guess(schema, prediction[output]));
    return { output, input, element: make("div", { class: "field" }, make("label", { for: id }, `True ${output}`), make("div", { class: "control" }, input.element)) };
  });
  const said = make("p", { class: "hint", role: "status" });
  const button = make("button", { type: "submit" }, "Send the truth");
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const told = fields.map(({ output, input }) => `${JSON.stringify(output)}: ${input.value().json}`);
      const body = `{"instances": [${await rowOf(values)}], "truth": [{${told.join(", ")}}]}`;
      const { right, wrong } = await ask(`${pathOf(name, version)}:feedback`, { method: "POST", ...jsonRequest(body) });
      said.className = "hint";
      said.textContent = `Counted: ${right} right, ${wrong} wrong.`;
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      said.className = "refusal";
      said.textContent = refused.message;
      button.disabled = false;
    }
  };
  return fold("Was it right?", make("form", { novalidate: true, "aria-label": `Feedback on version ${version}`, onsubmit: send }, fields.map(({ element }) => element), make("div", { class: "buttons" }, button), said));
}

/** The answer as a truth of its kind, for somebody to correct: the labels of a list, the label and place of each thing. */
function guess({ items }, answer) {
  const things = Array.isArray(answer) ? answer : [];
  const { properties } = items;
  return things.map((one) => (properties ? Object.fromEntries(Object.keys(properties).filter((key) => key in one).map((key) => [key, one[key]])) : one.label ?? one));
}
