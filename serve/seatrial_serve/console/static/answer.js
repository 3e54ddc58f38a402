/** What the model answered, or why it would not. */

import { detectionsAnswer } from "./answers/detections.js";
import { embeddingAnswer } from "./answers/embedding.js";
import { extractAnswer } from "./answers/extract.js";
import { forecastAnswer } from "./answers/forecast.js";
import { labelAnswer } from "./answers/label.js";
import { labelsAnswer } from "./answers/labels.js";
import { maskAnswer } from "./answers/mask.js";
import { numberAnswer } from "./answers/number.js";
import { pictureAnswer } from "./answers/picture.js";
import { jsonOf, plainAnswer } from "./answers/plain.js";
import { quantilesAnswer } from "./answers/quantiles.js";
import { rankingAnswer } from "./answers/ranking.js";
import { segmentsAnswer } from "./answers/segments.js";
import { spansAnswer } from "./answers/spans.js";
import { sparseEmbeddingAnswer } from "./answers/sparse_embedding.js";
import { tensorAnswer } from "./answers/tensor.js";
import { transcriptAnswer } from "./answers/transcript.js";
import { truncationAnswer } from "./answers/truncation.js";
import { facts, fold, make } from "./dom.js";

/**
 * Each shows one output and says it in a few words: `[element, words]`, at once or as a promise.
 * It is given the value and `{schema, kind, about, chosen}`: the output's JSON Schema and kind, the field of the form that it is about, as `{json}` or `{file}` with its `kind`, and the options chosen.
 */
const KINDS = {
  detections: detectionsAnswer, embedding: embeddingAnswer, extract: extractAnswer, forecast: forecastAnswer, label: labelAnswer, labels: labelsAnswer,
  mask: maskAnswer, number: numberAnswer, picture: pictureAnswer, quantiles: quantilesAnswer, ranking: rankingAnswer, segments: segmentsAnswer,
  spans: spansAnswer, sparse_embedding: sparseEmbeddingAnswer, tensor: tensorAnswer, transcript: transcriptAnswer, truncation: truncationAnswer,
};

/** Draw the answer to what was `asked`, `{values, chosen}` of the form, and `more` below it; returns the sentence that says it aloud. */
export async function showAnswer(place, { predictions: [prediction], model_version: number }, version, asked, ...more) {
  const shown = await Promise.all(Object.entries(prediction).map(async ([name, value]) => {
    const [element, words] = await viewOf(name, value, version, asked);
    return { element: make("div", { class: "output" }, make("h4", {}, name), element), words: `${name}: ${words}` };
  }));
  place.replaceChildren(
    ...shown.map(({ element }) => element),
    ...more,
    fold("As JSON", jsonOf(`The answer of version ${number} as JSON`, prediction)),
  );
  return shown.map(({ words }) => words).join("; ");
}

/** One output as its kind shows it; as JSON where no kind knows it, or where it is not as its kind has it, which the browser's log then says. */
async function viewOf(name, value, { contract, outputs }, { values, chosen }) {
  const schema = outputs.properties[name];
  const view = KINDS[schema["x-kind"]];
  if (!view) return plainAnswer(value);
  const kindIn = (fields, wanted) => fields.find((field) => field.name === wanted)?.kind;
  const given = values.get(schema["x-about"]);
  const about = given && { ...given, kind: kindIn(contract.inputs, schema["x-about"]) };
  try {
    return await view(value, { schema, kind: kindIn(contract.outputs, name), about, chosen });
  } catch (odd) {
    console.warn(`output '${name}' is shown as JSON`, odd);
    return plainAnswer(value);
  }
}

/** Draw a refusal, with a way to each field that it is about; returns the sentence that says it aloud. */
export function showRefusal(place, refused, goTo) {
  const { faults } = refused;
  place.replaceChildren(
    make(
      "div", { class: "refused" },
      make("h4", {}, refused.status >= 500 ? "No answer" : "Refused"),
      faults.length > 1 ? make("ul", {}, faults.map((fault) => make("li", {}, fault.field && make("button", { type: "button", class: "small", onclick: () => goTo(fault) }, fault.field), ` ${fault.finding}`))) : make("p", {}, refused.message),
      facts([["Code", refused.code], ["Status", refused.status && String(refused.status)], ["Request", refused.request]]),
    ),
  );
  return `Refused: ${refused.message}`;
}
