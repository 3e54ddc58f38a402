/** Segments: each in a colour of its own over the picture, and a list of them. */

import { fromBase64 } from "../base64.js";
import { make } from "../dom.js";
import { count, percent } from "../format.js";
import { firstOf, hueAt, scoreBars } from "./bars.js";
import { layered, pictureOf, strength } from "./layers.js";
import { painted } from "./mask.js";
import { grayLevels } from "./png.js";

export async function segmentsAnswer({ width, height, png, segments }, { about }) {
  const { levels } = await grayLevels(fromBase64(png));
  if (levels.length !== width * height) throw new TypeError("ids of another size than the answer says");
  const places = new Map(segments.map(({ id, label }) => [`${label} (${id})`, id - 1]));
  const { element } = scoreBars(segments.map(({ id, label, score }) => [`${label} (${id})`, score]), { hueOf: (name) => hueAt(places.get(name)) });
  const { image } = await pictureOf(about);
  const canvas = painted(Int32Array.from(levels, (id) => id - 1), width, height, segments.length); // 0 is in none, and clear
  canvas.setAttribute("aria-hidden", "true");
  const picture = layered(width, height, image, canvas);
  if (!segments.length) return [make("div", {}, picture, make("p", { class: "soft" }, "Nothing was found")), "nothing was found"];
  return [
    make("div", {}, picture, strength(canvas, 60), element),
    `${count(segments.length)} found: ${firstOf(segments.map(({ label, score }) => `${label}, ${percent(score)}`))}`,
  ];
}
