/** A picture: over the one that was asked about, and to save. */

import { make } from "../dom.js";
import { count, number } from "../format.js";
import { layered, pictureOf, strength } from "./layers.js";

export async function pictureAnswer({ width, height, png }, { kind, about }) {
  if (typeof png !== "string") throw new TypeError("no PNG");
  const words = `a picture of ${count(width)} × ${count(height)} pixels`;
  const source = `data:image/png;base64,${png}`;
  const answer = make("img", { alt: words, src: source });
  await answer.decode();
  const { image } = await pictureOf(about);
  const range = kind.channels === 1 && `, black is ${number(kind.ge)}, white is ${number(kind.le)}${kind.unit ? ` ${kind.unit}` : ""}`;
  return [
    make(
      "div", {}, layered(width, height, image, answer), strength(answer, 100),
      make("p", { class: "soft" }, words, range, ". ", make("a", { href: source, download: "answer.png" }, "Save it")),
    ),
    words,
  ];
}
