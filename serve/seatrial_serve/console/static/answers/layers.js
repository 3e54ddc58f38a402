/** The picture that was asked about, and what an answer lays over it. */

import { make } from "../dom.js";

/** The picture as the model takes it: upright, or as its file has it where the contract ignores EXIF. Throws `DOMException` where the browser cannot read it. */
export async function pictureOf({ file, kind }) {
  const image = make("img", { alt: "The picture that was asked about", src: URL.createObjectURL(file) });
  if (kind.exif === "ignore") image.style.imageOrientation = "none";
  const hidden = make("div", { class: "unseen" }, image); // only what is in the page is turned by its style
  document.body.append(hidden);
  try {
    await image.decode();
    return { image, width: image.offsetWidth, height: image.offsetHeight };
  } finally {
    URL.revokeObjectURL(image.src);
    hidden.remove();
  }
}

/** Layers of one size over each other, as large as their place allows. */
export function layered(width, height, ...layers) {
  const element = make("div", { class: "layers" }, layers);
  element.style.aspectRatio = `${width} / ${height}`;
  element.style.width = `min(100%, ${(24 * width) / height}rem)`;
  element.classList.toggle("grains", Math.max(width, height) < 128);
  return element;
}

/** A slider for how much a layer hides of what lies below. */
export function strength(layer, start) {
  const show = (event) => (layer.style.opacity = (event?.target.value ?? start) / 100);
  show();
  return make("label", { class: "strength" }, "Strength ", make("input", { type: "range", min: 0, max: 100, value: start, oninput: show }));
}
