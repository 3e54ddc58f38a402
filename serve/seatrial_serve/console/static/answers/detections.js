/** Detections: boxes over the picture that was sent, and what they are. */

import { fold, make, table } from "../dom.js";
import { number, percent } from "../format.js";
import { colourOf, overPicture } from "./over.js";

const SVG = "http://www.w3.org/2000/svg";

export function detectionsAnswer(found, schema, file) {
  const labels = [...new Set(found.map(({ label }) => label))];
  const layer = document.createElementNS(SVG, "svg");
  layer.append(...found.map(({ label, box }) => rectangle(box, colourOf(labels.indexOf(label)))));
  const over = overPicture(file, layer);
  over && over.firstChild.addEventListener("load", ({ target }) => layer.setAttribute("viewBox", `0 0 ${target.naturalWidth} ${target.naturalHeight}`));
  const rows = found.map(({ label, score, box }) => [label, percent(score), ...Object.values(box).map(number)]);
  const words = found.length ? `${found.length} found, the best ${found[0].label}, ${percent(found[0].score)}` : "nothing found";
  const list = table("Boxes in pixels of the picture", ["Label", "Score", "Left", "Top", "Right", "Bottom"], rows);
  return [make("div", {}, over, make("p", {}, words), found.length ? fold("Boxes", list) : ""), words];
}

function rectangle({ xmin, ymin, xmax, ymax }, colour) {
  const drawn = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ x: xmin, y: ymin, width: xmax - xmin, height: ymax - ymin, stroke: colour })) drawn.setAttribute(name, value);
  return drawn;
}
