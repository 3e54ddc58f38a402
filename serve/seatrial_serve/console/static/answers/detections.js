/** Detections: boxes, masks and points over the picture, and a list of them. */

import { make } from "../dom.js";
import { count, number, percent } from "../format.js";
import { coloured, firstOf, hueAt, scoreBars } from "./bars.js";
import { layered, pictureOf, strength } from "./layers.js";
import { maskLayer, pointsOf } from "./things.js";

const SIDES = ["xmin", "ymin", "xmax", "ymax"];

export async function detectionsAnswer(found, { kind, about }) {
  if (!found.every(({ box }) => SIDES.every((side) => typeof box[side] === "number"))) throw new TypeError("a box without its sides");
  const { image, width, height } = await pictureOf(about);
  const hueOf = (label) => hueAt(kind.classes.indexOf(label));
  const boxes = found.map((one) => boxOf(one, width, height, hueOf(one.label)));
  const points = found.flatMap((one) => (one.keypoints ? pointsOf(one, width, height, hueOf(one.label)) : []));
  const masks = found.some(({ mask }) => mask !== undefined) && (await maskLayer(found, width, height, hueOf));
  const picture = layered(width, height, image, masks, boxes.toReversed(), points); // the best lies on top
  if (!found.length) return [make("div", {}, picture, make("p", { class: "soft" }, "Nothing was found")), "nothing was found"];
  const places = new Map(found.map((one) => [`${one.label} at ${SIDES.map((side) => number(one.box[side])).join(", ")}`, one]));
  const { element } = scoreBars([...places].map(([name, { score }]) => [name, score]), { hueOf: (name) => hueOf(places.get(name).label) });
  return [make("div", {}, picture, masks && strength(masks, 50), element), `${count(found.length)} found: ${firstOf(found.map(({ label, score }) => `${label}, ${percent(score)}`))}`];
}

function boxOf({ label, score, box }, width, height, hue) {
  const element = make("div", { class: "box", "aria-hidden": "true" }, make("span", { class: "tag" }, `${label} ${percent(score)}`));
  const share = (side, whole) => `${(100 * side) / whole}%`;
  Object.assign(element.style, {
    left: share(box.xmin, width), top: share(box.ymin, height), width: share(box.xmax - box.xmin, width), height: share(box.ymax - box.ymin, height),
  });
  return coloured(element, hue);
}
