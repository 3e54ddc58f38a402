/** A number, with its unit. */

import { make } from "../dom.js";
import { float32 } from "../format.js";

export function numberAnswer(value, { schema }) {
  const text = value?.rawJSON ?? float32(value);
  const unit = schema["x-unit"] ? ` ${schema["x-unit"]}` : "";
  return [make("p", { class: "winner" }, make("strong", {}, text), unit), `${text}${unit}`];
}
