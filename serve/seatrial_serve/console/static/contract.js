/** The contract: what the model takes and answers, as it was sealed. */

import { facts, fold, make, source, table } from "./dom.js";
import { singles } from "./form.js";
import { bytes, count, number, seconds } from "./format.js";
import { takes } from "./inputs/columns.js";

export function contractSection(version) {
  const { contract, inputs, outputs, limits, packed } = version;
  const { tolerance, objective } = contract;
  return make(
    "section", { class: "card", "aria-labelledby": "contract" },
    make("h2", { id: "contract" }, "Contract"),
    table("What a row holds", ["Input", "Kind", "Takes", "May be missing", "About"], [
      ...singles(version).map(([name, property]) => {
        const schema = property.anyOf?.[0] ?? property;
        return [name, schema["x-kind"], schema["x-want"], property.anyOf ? "yes" : "no", property.description ?? ""];
      }),
      ...Object.entries(packed).map(([name, names]) => [name, "columns", `${count(names.length)} numbers and flags, each by its name`, "", columnsTable(name, names, inputs.properties)]),
    ]),
    table("What is answered", ["Output", "Kind", "Is", "About"], Object.entries(outputs.properties).map(([name, schema]) =>
      [name, schema["x-kind"], schema["x-want"], schema.description ?? ""])),
    facts([
      ["Rows in a request", `1 to ${count(limits.max_rows)}`], ["Body", `at most ${bytes(limits.max_body_bytes)}`],
      ["Tolerance", `${number(tolerance.relative_to_max)} of the largest value and ${number(tolerance.relative)} of each`],
      ["Objective", objective.p99_s && `99 of 100 requests within ${seconds(objective.p99_s)}`],
    ]),
    fold("contract.json", source("contract.json", JSON.stringify(contract, null, 2))),
  );
}

/** The columns that an input packs, in the order of its tensor: a table of thousands is made when it is opened. */
function columnsTable(name, names, properties) {
  const folded = fold("each of them");
  folded.addEventListener("toggle", () => folded.append(
    table(`Columns of ${name}`, ["Column", "Takes"], names.map((each) => [each, takes(properties[each])])),
  ), { once: true });
  return folded;
}
