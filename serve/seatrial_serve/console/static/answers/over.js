/** A picture that was sent, with a layer over it, both as large as the page allows. */

import { make } from "../dom.js";

/** `layer` has the picture's own shape; `[element]` of nothing where no picture was sent. */
export function overPicture(file, layer) {
  if (!file) return "";
  const picture = make("img", { alt: "The picture that was sent" });
  picture.addEventListener("load", () => URL.revokeObjectURL(picture.src));
  picture.src = URL.createObjectURL(file);
  return make("div", { class: "over-picture" }, picture, layer);
}

/** A colour for each class, as unlike to its neighbours as may be: the golden angle. */
export function colourOf(place) {
  return `hsl(${Math.round(place * 137.5 + 210) % 360} 90% 55%)`;
}

/** The file that stands in base64. */
export function pngOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/png" });
}
