/** A number, with its unit. */

import { make } from "../dom.js";
import { number } from "../format.js";

export function numberAnswer(value, schema) {
  const unit = schema["x-unit"] ? ` ${schema["x-unit"]}` : "";
  return [make("p", { class: "winner" }, make("strong", {}, number(value)), unit), `${number(value)}${unit}`];
}
