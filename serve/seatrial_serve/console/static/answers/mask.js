/** A mask: the class of each pixel in colours over the picture, and the share of each class. */

import { fromBase64 } from "../base64.js";
import { make } from "../dom.js";
import { percent } from "../format.js";
import { firstOf, hueAt, scoreBars } from "./bars.js";
import { layered, pictureOf, strength } from "./layers.js";
import { grayLevels } from "./png.js";

const MOST_IDS = 2 ** 16;

export async function maskAnswer(value, { kind, about }) {
  const { width, height } = value;
  const ids = value.png === undefined ? runs(value) : (await grayLevels(fromBase64(value.png))).levels;
  if (ids.length !== width * height) throw new TypeError("a mask of another size than it says");
  const { image } = await pictureOf(about);
  const names = (id) => kind.classes[id] ?? (id === kind.cut ? "cut off" : `class ${id}`);
  const shares = sharesOf(ids);
  const places = new Map(shares.map(([id]) => [names(id), id]));
  const canvas = painted(ids, width, height, kind.classes.length);
  canvas.setAttribute("aria-hidden", "true");
  const { element } = scoreBars(shares.map(([id, share]) => [names(id), share]), { hueOf: (name) => hueAt(places.get(name)) });
  return [
    make("div", {}, layered(width, height, image, canvas), strength(canvas, 60), element),
    firstOf(shares.map(([id, share]) => `${names(id)}, ${percent(share)}`)),
  ];
}

function runs({ ids, lengths, width, height }) {
  const whole = new Uint32Array(width * height);
  let at = 0;
  ids.forEach((id, run) => whole.fill(id, at, (at += lengths[run])));
  if (at !== whole.length) throw new TypeError("runs of another length than the mask");
  return whole;
}

/** `[id, share]` of the ids that occur, the largest first. */
function sharesOf(ids) {
  const counts = new Uint32Array(MOST_IDS);
  for (const id of ids) counts[id]++;
  return Array.from(counts, (many, id) => [id, many / ids.length]).filter(([, share]) => share).sort(([, a], [, b]) => b - a);
}

/** What is no class, as what a crop cut off, is clear. */
export function painted(ids, width, height, classes) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const colours = new Uint32Array(Uint8Array.from(Array.from({ length: classes }, (_, id) => rgb(hueAt(id))).flat()).buffer);
  new Uint32Array(picture.data.buffer).set(Uint32Array.from(ids, (id) => colours[id] ?? 0));
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** Red, green, blue and opacity of a full hue, as the swatches beside it have it: hsl(hue 75% 50%) by CSS Color 4. */
export function rgb(hue) {
  const part = (from) => {
    const at = (from + hue / 30) % 12;
    return Math.round(255 * (0.5 - 0.375 * Math.max(-1, Math.min(at - 3, 9 - at, 1))));
  };
  return [part(0), part(8), part(4), 255];
}
