/** A picture that the model made. */

import { make } from "../dom.js";
import { pngOf } from "./over.js";

export function pictureAnswer({ width, height, png }) {
  const words = `${width} × ${height} pixels`;
  const picture = make("img", { alt: "The picture that the model made" });
  picture.addEventListener("load", () => URL.revokeObjectURL(picture.src));
  picture.src = URL.createObjectURL(pngOf(png));
  return [make("div", {}, make("div", { class: "over-picture" }, picture), make("p", {}, words)), words];
}
