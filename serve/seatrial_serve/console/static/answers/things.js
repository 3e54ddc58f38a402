/** What belongs to single things in a picture: their masks in one layer, their points. */

import { fromBase64 } from "../base64.js";
import { make } from "../dom.js";
import { percent } from "../format.js";
import { coloured } from "./bars.js";
import { rgb } from "./mask.js";
import { grayLevels } from "./png.js";

/** A canvas of all masks, each in the colour of its class; the best lies on top. Throws `TypeError` where a mask is of another size. */
export async function maskLayer(found, width, height, hueOf) {
  const canvas = make("canvas", { width, height, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  for (const { label, mask } of found.toReversed()) {
    const inside = typeof mask === "string" ? (await grayLevels(fromBase64(mask))).levels : cocoPixels(mask);
    if (inside.length !== pixels.length) throw new TypeError("a mask of another size than its picture");
    const [colour] = new Uint32Array(Uint8Array.from(rgb(hueOf(label))).buffer);
    inside.forEach((level, at) => level && (pixels[at] = colour));
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** COCO's run lengths, which go down the columns, as pixels row after row. */
function cocoPixels({ size: [height, width], counts }) {
  const pixels = new Uint8Array(width * height);
  let at = 0;
  lengthsOf(counts).forEach((length, run) => {
    for (const end = at + length; at < end; at++) if (run % 2) pixels[(at % height) * width + Math.floor(at / height)] = 1;
  });
  if (at !== pixels.length) throw new TypeError("runs of another length than the mask");
  return pixels;
}

/** COCO's text: 5 bits a character from "0" on, 32: more follow; from the fourth run on, the difference from the last but one. */
function lengthsOf(counts) {
  const lengths = [];
  let [value, shift] = [0, 0];
  for (const letter of counts) {
    const bits = letter.charCodeAt(0) - 48;
    value += (bits & 31) * 2 ** shift;
    shift += 5;
    if (bits & 32) continue;
    if (bits & 16) value -= 2 ** shift;
    lengths.push(lengths.length > 2 ? value + lengths.at(-2) : value);
    [value, shift] = [0, 0];
  }
  return lengths;
}

/** A dot for each point of a thing that lies in the picture, with its name. */
export function pointsOf({ keypoints }, width, height, hue) {
  return keypoints
    .filter(({ x, y }) => x >= 0 && y >= 0 && x <= width && y <= height)
    .map(({ label, x, y, score }) => {
      const dot = make("div", { class: "point", "aria-hidden": "true", title: score === undefined ? label : `${label} ${percent(score)}` });
      Object.assign(dot.style, { left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%` });
      return coloured(dot, hue);
    });
}
