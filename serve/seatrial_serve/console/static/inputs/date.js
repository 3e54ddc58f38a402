/** A date, a moment or a duration. A browser's picker knows no zone: a moment is in the declared one, or in UTC. */

import { make } from "../dom.js";

const TYPES = { date: "date", datetime: "datetime-local", duration: "text" };
const ZONED = /(?:Z|[+-]\d\d:\d\d)$/;

export function dateInput({ schema, nullable }) {
  const type = TYPES[schema["x-kind"]];
  const moment = type === "datetime-local";
  const picked = (text) => (moment ? (text ?? "").replace(ZONED, "") : (text ?? ""));
  const zone = schema["x-zone"];
  const bound = (end) => (schema[`x-${end}`] && type !== "text" ? picked(schema[`x-${end}`]) : undefined);
  let sent = ""; // as the example has it: its zone, and digits that no picker shows
  const control = make("input", {
    type, autocomplete: "off", spellcheck: "false", step: moment ? "0.001" : undefined, min: bound("minimum"), max: bound("maximum"),
    oninput: () => (sent = ""),
  });
  const value = () => {
    const text = sent || written(control.value, moment && !zone);
    return { json: text || !nullable ? JSON.stringify(text) : "null" };
  };
  const fill = (example) => {
    sent = example ?? "";
    control.value = picked(example);
  };
  return { control, element: moment ? make("div", { class: "control" }, control, make("span", { class: "unit" }, zone ?? "UTC")) : control, fill, value };
}

/** A picker leaves seconds out where they are 0. */
function written(text, utc) {
  if (!text) return "";
  const whole = /T\d\d:\d\d$/.test(text) ? `${text}:00` : text;
  return utc ? `${whole}Z` : whole;
}
