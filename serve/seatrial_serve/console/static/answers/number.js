/** A number, with its unit. */

import { make } from "../dom.js";
import { float32 } from "../format.js";

export function numberAnswer(value, { schema }) {
  const unit = schema["x-unit"] ? ` ${schema["x-unit"]}` : "";
  return [make("p", { class: "winner" }, make("strong", {}, float32(value)), unit), `${float32(value)}${unit}`];
}
