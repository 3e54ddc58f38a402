/** How this version was tried: the load gate on this machine, and the receipts that lie beside the bundle. */

import { costs, errors, searches, temperatures } from "./costs.js";
import { facts, fold, make, table } from "./dom.js";
import { bytes, count, number, seconds } from "./format.js";

const verdict = (passed) => make("span", { class: `badge ${passed ? "good" : "bad"}` }, passed ? "passed" : "failed");

export function trialsSection(version) {
  const { execution, bundle } = version;
  return make(
    "section", { class: "card", "aria-labelledby": "trials" },
    make("h2", { id: "trials" }, "How it was tested"),
    make("p", { class: "soft" }, "Every answer below was compared with the training side's, in the units of the output."),
    !execution && make("p", { class: "soft" }, "It is not loaded: its first request loads it, and its load gate runs then."),
    facts([
      ["Variant", execution?.variant], ["Sealed with it", bundle.variants.map(({ name }) => name).filter((name) => name !== execution?.variant).join(", ")], ["Runs on", execution?.provider], ["Loaded and tried in", execution && seconds(version.load_seconds)],
      ["Batches", batches(bundle, execution)],
      ["Bundle", bytes(bundle.size_bytes)], ["Made with", Object.entries(bundle.made_with).map((pair) => pair.join(" ")).join(", ")], ["Commit", bundle.git_commit],
      ...Object.entries(bundle.waivers).map(([step, reason]) => [`Waived: ${step}`, reason]),
    ]),
    execution && table("Load gate, on this machine", ["Rows at once", "Verdict", "Worst error", "Allowed there", "Rows", "Refused rightly"], version.load_gate.map((trial) => [
      atOnce(trial), verdict(trial.passed), number(trial.worst_error), number(trial.allowed), count(trial.rows), count(trial.refusals),
    ])),
    gate(version.receipts),
    make("h3", {}, "Receipts"),
    version.receipts.length > 0 && make("p", { class: "soft" }, "Receipts are unsigned: each is the claim of whoever wrote it beside the bundle. The load gate above is what this server found by itself."),
    version.receipts_error && make("p", { class: "refusal" }, version.receipts_error),
    version.receipts.length ? version.receipts.map((one, place) => receipt(one, version.error_edges, place === 0)) : make("p", { class: "soft" }, "None lies beside this bundle. ", make("code", {}, "seatrial parity"), " writes one."),
  );
}

function batches({ batchable }, execution) {
  if (!batchable) return "never: a row's answer would depend on its mates";
  return execution && `up to ${execution.batch_rows} rows, ${execution.deep_batch_rows} where many wait, as measured here`;
}

/** The steps of the export gate, as the receipt of the export lists them. */
function gate(receipts) {
  const { gate: steps, made_at: made } = receipts.find((receipt) => receipt.gate.length) ?? { gate: [] };
  if (!steps.length) return "";
  const rows = steps.map(({ step, proved, waived, seconds: took }) => (waived
    ? [step, make("span", { class: "badge wait" }, "waived"), waived, "–"]
    : [step, verdict(true), proved, took ? seconds(took) : "under 1 ms"]));
  return table(`Export gate, ${count(steps.length)} steps before it was sealed on ${made.slice(0, 10)}`, ["Step", "Verdict", "What it proved", "Took"], rows);
}

/** The newest stands open; what was measured opens at a click. */
function receipt({ made_at: made, machine, signed_by: signed, trials, searches: searched, calibrations }, edges, open) {
  const rows = trials.map((trial) => [
    through(trial), make("div", {}, verdict(trial.passed), trial.finding && make("p", { class: "finding" }, trial.finding)), number(trial.worst_error), number(trial.allowed),
    atOnce(trial), count(trial.rows), count(trial.refusals), trial.variant, (trial.provider ?? "–").replace("ExecutionProvider", ""),
  ]);
  const heads = ["Through", "Verdict", "Worst error", "Allowed there", "Rows at once", "Rows", "Refused rightly", "Variant", "On"];
  const title = `${made.replace("T", " ").replace("Z", " UTC")} claimed by ${machine.processor}, ${machine.cores} cores, ${machine.system}, unsigned${signed ? `, of a bundle signed by ${signed.signer}` : ""}`;
  const more = [measured(trials, title), errors(trials, edges, through, title), costs(trials, title), searches(searched, title), temperatures(calibrations, title)];
  const element = make("div", { class: "receipt" }, table(title, heads, rows), more);
  return open ? element : fold(title, element);
}

const atOnce = ({ batch_sizes: sizes }) => sizes.join(", ") || "–";
const through = ({ runner, held_out: heldOut }) => `${runner}${heldOut ? ", held-out rows" : ""}`;
const MEASURES = { cosine: "Cosine", agreement: "Agreement", accuracy: "Accuracy", calibration_error: "Calibration error", absolute_error: "Absolute error" };

/** What was measured for all rows and for each slice, where anything was; a column where any has it. */
function measured(trials, receipt) {
  const all = trials.filter(({ measures }) => measures).flatMap((trial) => [
    [trial, "all", trial.measures], ...Object.entries(trial.slices ?? {}).map(([slice, measures]) => [trial, slice, measures]),
  ]);
  const names = Object.keys(MEASURES).filter((name) => all.some(([, , measures]) => (measures[name] ?? null) !== null));
  if (!names.length) return "";
  const rows = all.map(([trial, slice, measures]) => [through(trial), trial.variant, atOnce(trial), slice, count(measures.rows), ...names.map((name) => number(measures[name]))]);
  const title = "Measured against the training side, and the truth where it is known";
  return fold(title, table(`Measured ${receipt}`, ["Through", "Variant", "Rows at once", "Slice", "Rows", ...names.map((name) => MEASURES[name])], rows));
}
