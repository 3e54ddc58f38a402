/** A form made from the JSON Schemas of a row and of a request's options: one input for each, its hint, and what the server finds wrong with it. */

import { Refused } from "./api.js";
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
import { MOMENTS, plain, takesText } from "./tensors.js";

const MANY = 24; // fields that nobody looks through: they are found by name

/** Which input suits a schema; what no other knows is JSON. */
export function inputFor(schema) {
  const exact = !schema.enum?.some((one) => Number.isInteger(one) && !Number.isSafeInteger(one)); // JSON.parse rounds others
  if (schema.enum && exact) return choiceInput;
  if (schema["x-media-types"]) return fileInput;
  if (MOMENTS.includes(schema["x-kind"])) return dateInput;
  if (schema.type === "boolean") return flagInput;
  if (schema.type === "number" || schema.type === "integer") return numberInput;
  if (takesText(schema)) return schema.examples ? wordInput : textInput;
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
      this.fields.length > MANY && this.finder(),
      make("div", { class: "fields" }, this.fields.map((field) => field.element)),
      this.options.length > 0 && fold("Options", make("div", { class: "fields" }, this.options.map((option) => option.element))),
      this.note, this.rest = make("div", { class: "rest" }), this.buttons = make("div", { class: "buttons" }, this.button, reset),
    );
    this.changed = changed;
    this.fill();
  }

  /** A field that hides the inputs whose names do not hold what is typed. */
  finder() {
    const status = make("p", { class: "hint", role: "status", id: "found" });
    const show = () => {
      const text = this.search.value.trim().toLowerCase();
      for (const { name, element } of this.fields) element.hidden = !name.toLowerCase().includes(text);
      const shown = this.fields.filter(({ element }) => !element.hidden).length;
      status.textContent = `${shown} of ${this.fields.length} inputs`;
    };
    this.search = make("input", { type: "search", id: "find-input", autocomplete: "off", spellcheck: "false", oninput: show, "aria-describedby": "found" });
    this.findAll = () => { this.search.value = ""; show(); };
    show();
    return make("div", { class: "field finder" }, make("label", { for: "find-input" }, "Find an input"), this.search, status);
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

  /** Fill in the contract's example, and the options as a request without them has them. */
  fill() {
    for (const { schema, input } of this.options) input.fill(schema.default);
    this.take(this.version.example);
  }

  /** Fill in a row: name -> value. Returns the names of inputs that it leaves as they are. Throws `Refused` where a value fits nowhere. */
  take(row) {
    const left = [];
    this.clear();
    for (const { name, columns, schema, input } of this.fields) {
      const names = Object.keys(columns ?? { [name]: 0 });
      const absent = names.filter((each) => !(each in row));
      left.push(...absent);
      if (absent.length === names.length) continue;
      try {
        input.fill(columns ? row : row[name]);
      } catch {
        throw new Refused(`got something else, want ${schema?.["x-want"] ?? "numbers and flags"}`, "", { field: name });
      }
    }
    return left;
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

  /** Does it still hold what was `asked`, its `{values, chosen}` of some time ago? */
  holds(asked) {
    try {
      return sameAs(this.values(), asked.values) && sameAs(this.chosen(), asked.chosen);
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      return false;
    }
  }

  /** Show each fault of a refusal at the field it names, and go to the first. */
  refuse({ faults }) {
    const marked = new Map(); // field -> its faults
    for (const fault of faults) {
      const field = this.fieldOf(fault);
      marked.set(field, [...(marked.get(field) ?? []), fault]);
    }
    if (faults.some((fault) => this.fieldOf(fault)?.element.hidden)) this.findAll();
    let first;
    for (const [field, own] of marked) {
      const findings = field?.columns ? own.map((one) => (own.length > 1 ? `${one.field}: ${one.finding}` : one.finding)) : own.map((one) => one.finding);
      (field?.refusal ?? this.note).textContent = findings.join("; ");
      if (!field) continue;
      field.element.closest("details")?.setAttribute("open", "");
      const controls = (field.columns && field.input.find(own.map((one) => one.field))) || [field.input.control];
      for (const control of controls) control.setAttribute("aria-invalid", "true");
      first ??= controls[0];
    }
    first?.focus();
  }

  /** The field of the form that a fault is about, if it is about one. */
  fieldOf({ role, field }) {
    const names = ({ name, columns }) => name === field || field in (columns ?? {}) || field?.startsWith(`${name}.`);
    return [...this.fields, ...this.options].find((each) => each.role === role && names(each));
  }

  clear() {
    this.note.textContent = "";
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

/** Do two maps of values hold the same, a file being the same as itself alone? */
function sameAs(one, other) {
  const same = (a, b) => a === b || (a?.json !== undefined && a.json === b?.json) || (a?.file !== undefined && a.file === b?.file);
  return one.size === other.size && [...one].every(([name, value]) => other.has(name) && same(value, other.get(name)));
}

/** Ctrl+Enter, or Cmd+Enter, predicts from within a text too. */
function submitsByKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
}
