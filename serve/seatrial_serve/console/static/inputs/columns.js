/** Packed columns: many numbers of a row, found by their names; the first of those that match are shown. */

import { make } from "../dom.js";
import { plain } from "../tensors.js";
import { flagInput } from "./flag.js";
import { numberInput } from "./number.js";

const MOST_SHOWN = 24;

/** `columns` is name -> property of each. Its `values` are name -> `{json}`, of columns that hold something. */
export function columnsInput({ name, columns, id, changed }) {
  const names = Object.keys(columns);
  const held = new Map(); // what a hidden column holds
  const shown = new Map();
  const control = make("input", { type: "search", autocomplete: "off", spellcheck: "false", placeholder: `Find one of ${names.length}`, oninput: () => show(control.value) });
  const status = make("p", { class: "hint", role: "status" });
  const list = make("div", { class: "fields", role: "group", "aria-label": name });

  /** Keep what is typed, and show the columns whose names hold the text. */
  function show(text) {
    keep();
    const found = names.filter((each) => each.toLowerCase().includes(text.trim().toLowerCase()));
    list_columns(found, `${found.length} of ${names.length} columns`);
  }

  function list_columns(found, said) {
    shown.clear();
    list.replaceChildren(...found.slice(0, MOST_SHOWN).map((each) => column(each)));
    status.textContent = found.length > MOST_SHOWN ? `${MOST_SHOWN} of ${found.length} columns are shown` : said;
  }

  function column(each) {
    const schema = plain(columns[each]);
    const made = (schema.type === "boolean" ? flagInput : numberInput)({ name: each, schema, nullable: columns[each].anyOf !== undefined, id: `${id}.${each}` });
    made.control.id = `${id}.${each}`;
    made.fill(held.get(each));
    shown.set(each, made);
    return make("div", { class: "field" }, make("label", { for: made.control.id }, each), make("div", { class: "control" }, made.element), make("p", { class: "hint" }, takes(columns[each])));
  }

  function keep() {
    for (const [each, { value }] of shown) {
      const json = value()?.json;
      held.set(each, json === undefined ? undefined : JSON.parse(json));
    }
  }

  return {
    control,
    element: make("div", { class: "grows" }, control, status, list),
    fill: (row) => {
      keep();
      shown.clear();
      for (const each of names) if (each in row) held.set(each, row[each]);
      show(control.value);
    },
    /** Show the columns that are refused; returns their controls, where these are columns. */
    find: (refused) => {
      const known = refused.filter((each) => names.includes(each));
      if (!known.length) return undefined;
      control.value = known.length === 1 ? known[0] : "";
      keep();
      list_columns(known, `${known.length} of ${names.length} columns, the refused ones`);
      return known.slice(0, MOST_SHOWN).map((each) => shown.get(each).control);
    },
    values: () => {
      keep();
      return names.filter((each) => held.get(each) !== undefined).map((each) => [each, { json: JSON.stringify(held.get(each)) }]);
    },
    changed,
  };
}

/** What a column takes, in words. */
export function takes(property) {
  const schema = plain(property);
  const low = schema.minimum ?? schema.exclusiveMinimum, high = schema.maximum ?? schema.exclusiveMaximum;
  const noun = { integer: "a whole number", boolean: "true or false" }[schema.type] ?? "a number";
  const bounds = [low !== undefined && `from ${low}`, high !== undefined && `to ${high}`, schema["x-unit"]];
  return [property.description ?? schema.description, [noun, ...bounds].filter(Boolean).join(" ") + (property.anyOf ? ", or nothing" : "")].filter(Boolean).join(". ");
}
