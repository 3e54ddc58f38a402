/** A form made from the JSON Schemas of a row and of a request's options: one input for each, its hint, and what the server finds wrong with it. */

import { fold, make } from "./dom.js";
import { choiceInput } from "./inputs/choice.js";
import { columnsInput } from "./inputs/columns.js";
import { dateInput } from "./inputs/date.js";
import { fileInput } from "./inputs/file.js";
import { flagInput } from "./inputs/flag.js";
import { jsonInput } from "./inputs/json.js";
import { numberInput } from "./inputs/number.js";
import { textInput } from "./inputs/text.js";
import { textsInput } from "./inputs/texts.js";
import { wordInput } from "./inputs/word.js";
import { MOMENTS, plain } from "./tensors.js";

/** Which input suits a schema; what no other knows is JSON. */
function inputFor(schema) {
  const exact = !schema.enum?.some((one) => Number.isInteger(one) && !Number.isSafeInteger(one)); // JSON.parse rounds others
  if (schema.enum && exact) return choiceInput;
  if (schema["x-media-types"]) return fileInput;
  if (MOMENTS.includes(schema["x-kind"])) return dateInput;
  if (schema.type === "boolean") return flagInput;
  if (schema.type === "number" || schema.type === "integer") return numberInput;
  if (schema.type === "string") return schema.examples ? wordInput : textInput;
  if (schema.type === "object" && Object.values(schema.properties).every(({ type }) => type === "string")) return textsInput;
  return jsonInput;
}

export class Form {
  /** `submit` is called to predict, `changed` after every change. */
  constructor(version, submit, changed) {
    this.version = version;
    const single = singles(version).map(([name, property]) => this.field("input", name, property));
    this.fields = [...single, ...Object.entries(version.packed).map(([name, columns]) => this.packed(name, columns))];
    this.options = Object.entries(version.options.properties).map(([name, schema]) => this.field("option", name, schema));
    this.button = make("button", { type: "submit", class: "primary" }, "Predict");
    this.note = make("p", { class: "refusal", id: "form-refusal" });
    const reset = make("button", { type: "button", onclick: () => { this.fill(); changed(); } }, "Example row");
    this.element = make(
      "form", { novalidate: true, "aria-label": "One row", oninput: changed, onchange: changed, onkeydown: submitsByKey, onsubmit: (event) => {
        event.preventDefault();
        submit();
      } },
      make("div", { class: "fields" }, this.fields.map((field) => field.element)),
      this.options.length > 0 && fold("Options", make("div", { class: "fields" }, this.options.map((option) => option.element))),
      this.note, make("div", { class: "buttons" }, this.button, reset),
    );
    this.changed = changed;
    this.fill();
  }

  /** `role` is "input" or "option": one of each may have the same name. */
  field(role, name, property) {
    const schema = plain(property);
    const nullable = property.anyOf !== undefined;
    const id = role === "input" ? name : `${role}:${name}`;
    const ids = { control: `field-${id}`, hint: `hint-${id}`, refusal: `refusal-${id}` };
    const input = inputFor(schema)({ name, schema, nullable, id: ids.control, changed: () => this.changed() });
    const unit = schema["x-unit"] ? make("span", { class: "unit" }, schema["x-unit"]) : "";
    const refusal = make("p", { class: "refusal", id: ids.refusal });
    input.control.id = ids.control;
    input.control.setAttribute("aria-describedby", `${ids.hint} ${ids.refusal}`);
    const unless = schema.default ?? property.default;
    const missing = role === "option" ? `; ${schema.default} unless chosen` : unless !== undefined ? `; ${JSON.stringify(unless)} where it is left out` : nullable ? ", or nothing: a missing value" : "";
    const hint = [property.description, `${schema["x-want"]}${missing}`];
    const element = make(
      "div", { class: "field" },
      make("label", { for: ids.control }, name), make("div", { class: "control" }, input.element, unit),
      make("p", { class: "hint", id: ids.hint }, hint.filter(Boolean).join(". ")), refusal,
    );
    return { role, name, schema, input, element, refusal };
  }

  /** The columns that an input packs. */
  packed(name, names) {
    const ids = { control: `field-${name}`, refusal: `refusal-${name}` };
    const columns = Object.fromEntries(names.map((each) => [each, this.version.inputs.properties[each]]));
    const input = columnsInput({ name, columns, id: ids.control, changed: () => this.changed() });
    const refusal = make("p", { class: "refusal", id: ids.refusal });
    input.control.id = ids.control;
    input.control.setAttribute("aria-describedby", ids.refusal);
    const element = make("div", { class: "field wide" }, make("label", { for: ids.control }, name), input.element, refusal);
    return { role: "input", name, columns, input, element, refusal };
  }

  fill() {
    const { example } = this.version;
    for (const { name, columns, input } of this.fields) input.fill(columns ? example : example[name]);
    for (const { schema, input } of this.options) input.fill(schema.default);
    this.clear();
  }

  /** Field -> `{json}` or `{file}`, those left out aside. Throws `Refused` where a field holds nothing that JSON could carry. */
  values() {
    const pairs = this.fields.flatMap(({ name, columns, input }) => (columns ? input.values() : [[name, input.value()]]));
    return new Map(pairs.filter(([, value]) => value !== undefined));
  }

  /** Option -> its JSON, of those that are not as a request without them has them. */
  chosen() {
    const pairs = this.options.map(({ name, schema, input }) => [name, input.value()?.json, schema.default]);
    return new Map(pairs.filter(([, json, unless]) => json !== undefined && JSON.parse(json) !== unless));
  }

  /** Show a refusal at the field it names, and go there. */
  refuse(refused) {
    const names = ({ name, columns }) => name === refused.field || refused.field in (columns ?? {}) || refused.field?.startsWith(`${name}.`);
    const field = [...this.fields, ...this.options].find((each) => each.role === refused.role && names(each));
    field?.element.closest("details")?.setAttribute("open", "");
    (field?.refusal ?? this.note).textContent = refused.finding;
    const control = (field?.columns && field.input.find(refused.field)) ?? field?.input.control;
    control?.setAttribute("aria-invalid", "true");
    control?.focus();
  }

  clear() {
    this.note && (this.note.textContent = "");
    for (const { input, refusal } of [...this.fields, ...this.options]) {
      refusal.textContent = "";
      input.control.removeAttribute("aria-invalid");
    }
  }

  busy(is) {
    this.button.disabled = is;
    this.element.setAttribute("aria-busy", is);
  }
}

/** The properties of a row that are inputs of their own. */
export function singles({ inputs, packed }) {
  const columns = new Set(Object.values(packed).flat());
  return Object.entries(inputs.properties).filter(([name]) => !columns.has(name));
}

/** Ctrl+Enter, or Cmd+Enter, predicts from within a text too. */
function submitsByKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
}
