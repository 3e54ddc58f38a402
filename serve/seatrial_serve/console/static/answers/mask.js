/** A mask: the classes of the pixels, coloured, over the picture that was sent. */

import { make, source } from "../dom.js";
import { percent } from "../format.js";
import { colourOf, overPicture, pngOf } from "./over.js";

const MOST = 256;

export function maskAnswer(mask, schema, file) {
  const classes = schema["x-classes"];
  const words = `${mask.width} × ${mask.height} pixels`;
  if (!mask.png || classes.length > MOST) return [source("The mask as JSON", JSON.stringify(mask)), words];
  const layer = make("canvas", { width: mask.width, height: mask.height });
  const shares = make("ul", { class: "bars" });
  colour(layer, pngOf(mask.png), classes, shares);
  return [make("div", {}, overPicture(file, layer) || layer, make("p", {}, words), shares), words];
}

/** Draw ids in colours, and say which share of the pixels each class has. */
async function colour(layer, png, classes, shares) {
  const context = layer.getContext("2d");
  context.drawImage(await createImageBitmap(png), 0, 0);
  const pixels = context.getImageData(0, 0, layer.width, layer.height);
  const counts = new Map();
  for (let at = 0; at < pixels.data.length; at += 4) counts.set(pixels.data[at], (counts.get(pixels.data[at]) ?? 0) + 1);
  const palette = new Map([...counts.keys()].map((id) => [id, rgb(colourOf(id))]));
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set(palette.get(pixels.data[at]), at);
  context.putImageData(pixels, 0, 0);
  const all = layer.width * layer.height;
  shares.append(...[...counts].sort(([, a], [, b]) => b - a).map(([id, count]) => {
    const name = classes[id] ?? `${id}: not seen`;
    return make("li", {}, make("span", { class: "class" }, name), make("meter", { max: 1, value: count / all, "aria-label": name }), make("span", { class: "score" }, percent(count / all)));
  }));
}

/** Red, green, blue and opacity of a colour in words, each 0 to 255. */
function rgb(colour) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}
