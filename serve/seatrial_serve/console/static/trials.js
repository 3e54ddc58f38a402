/** How this version was tried: the load gate on this machine, and the receipts that lie beside the bundle. */

import { facts, make, table } from "./dom.js";
import { bytes, count, number, seconds } from "./format.js";

const verdict = (passed) => make("span", { class: `badge ${passed ? "good" : "bad"}` }, passed ? "passed" : "failed");

export function trialsSection(version) {
  const { execution, bundle } = version;
  return make(
    "section", { class: "card", "aria-labelledby": "trials" },
    make("h2", { id: "trials" }, "Tried"),
    make("p", { class: "soft" }, "Every answer below was compared with the training side's, in the units of the output."),
    facts([
      ["Variant", execution.variant], ["Runs on", execution.provider], ["Loaded and tried in", seconds(version.load_seconds)],
      ["Batches", bundle.batchable ? `up to ${execution.batch_rows} rows, as measured here` : "never: a row's answer would depend on its mates"],
      ["Bundle", bytes(bundle.size_bytes)], ["Made with", Object.entries(bundle.made_with).map((pair) => pair.join(" ")).join(", ")], ["Commit", bundle.git_commit],
      ...Object.entries(bundle.waivers).map(([step, reason]) => [`Waived: ${step}`, reason]),
    ]),
    table("Load gate, on this machine", ["Rows at once", "Rows", "Refused rightly", "Worst error", "Allowed there", "Verdict"], version.load_gate.map((trial) => [
      trial.batch_sizes.join(", "), count(trial.rows), count(trial.refusals), number(trial.worst_error), number(trial.allowed), verdict(trial.passed),
    ])),
    make("h3", {}, "Receipts"),
    version.receipts_error && make("p", { class: "refusal" }, version.receipts_error),
    version.receipts.length ? version.receipts.map(receipt) : make("p", { class: "soft" }, "None lies beside this bundle. ", make("code", {}, "seatrial parity"), " writes one."),
  );
}

function receipt({ made_at: made, machine, trials }) {
  const rows = trials.map((trial) => [
    trial.runner, trial.variant, trial.provider ?? "–", trial.batch_sizes.join(", ") || "–", count(trial.rows), count(trial.refusals),
    number(trial.worst_error), number(trial.allowed), make("span", {}, verdict(trial.passed), trial.finding && ` ${trial.finding}`), ...measured(trial),
  ]);
  const more = trials.some((trial) => trial.measures) ? MEASURES.map(([head]) => head) : [];
  const heads = ["Through", "Variant", "Provider", "Rows at once", "Rows", "Refused rightly", "Worst error", "Allowed there", "Verdict", ...more];
  return make(
    "div", {},
    table(`${made.replace("T", " ").replace("Z", " UTC")} on ${machine.processor}, ${machine.cores} cores, ${machine.system}`, heads, rows),
  );
}

const MEASURES = [["Cosine", "cosine"], ["Agreement", "agreement"], ["Accuracy", "accuracy"], ["Calibration error", "calibration_error"]];

function measured({ measures }) {
  return measures ? MEASURES.map(([, name]) => number(measures[name])) : [];
}
