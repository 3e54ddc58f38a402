/** What the model answered, or why it would not. */

import { detectionsAnswer } from "./answers/detections.js";
import { labelAnswer, labelsAnswer } from "./answers/label.js";
import { maskAnswer } from "./answers/mask.js";
import { numberAnswer } from "./answers/number.js";
import { pictureAnswer } from "./answers/picture.js";
import { tensorAnswer } from "./answers/tensor.js";
import { facts, fold, make, source } from "./dom.js";
import { seconds } from "./format.js";

/** Each shows one output and says it in a few words: `[element, words]`. */
const KINDS = { detections: detectionsAnswer, label: labelAnswer, labels: labelsAnswer, mask: maskAnswer, number: numberAnswer, picture: pictureAnswer, tensor: tensorAnswer };

function plainAnswer(value) {
  return [source("The value as JSON", JSON.stringify(value, null, 2)), JSON.stringify(value)];
}

/** Draw the answer; returns the sentence that says it aloud. `took` is the whole round trip in milliseconds, `values` are those that were sent. */
export function showAnswer(place, { predictions: [prediction], model_version: version }, outputs, took, values) {
  const shown = Object.entries(prediction).map(([name, value]) => {
    const [element, words] = (KINDS[outputs[name]["x-kind"]] ?? plainAnswer)(value, outputs[name], values.get(outputs[name]["x-on"])?.file);
    return { element: make("div", { class: "output" }, make("h4", {}, name), element), words: `${name}: ${words}` };
  });
  place.replaceChildren(
    ...shown.map(({ element }) => element),
    make("p", { class: "soft" }, `Version ${version}, ${seconds(took / 1000)} there and back`),
    fold("As JSON", source("The answer as JSON", JSON.stringify(prediction, null, 2))),
  );
  return shown.map(({ words }) => words).join("; ");
}

/** Draw a refusal; returns the sentence that says it aloud. */
export function showRefusal(place, refused) {
  place.replaceChildren(
    make(
      "div", { class: "refused" },
      make("h4", {}, refused.status >= 500 ? "No answer" : "Refused"),
      make("p", {}, refused.message),
      facts([["Code", refused.code], ["Status", refused.status && String(refused.status)], ["Request", refused.request]]),
    ),
  );
  return `Refused: ${refused.message}`;
}
