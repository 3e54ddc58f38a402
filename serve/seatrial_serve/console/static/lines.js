/** The request from code: lines to copy for curl, Python and tritonclient. */

import { Refused, ask, pathOf } from "./api.js";
import { isAsked } from "./key.js";
import { make, source } from "./dom.js";
import { objectOf, onlyFile, parametersOf, typeOf } from "./request.js";
import { fieldsOf, isMoment, numbered, packedOf } from "./tensors.js";

const BASE = new URL(".", location.href).href.replace(/\/$/, "");
const DTYPES = { BF16: "ml_dtypes.bfloat16", BOOL: "np.bool_", BYTES: "np.object_", FP16: "np.float16", FP32: "np.float32", FP64: "np.float64" };

export class Lines {
  /** `asked` is the version where the address names one. */
  constructor(name, asked, version, form) {
    Object.assign(this, { name, asked, form, properties: version.inputs.properties, packed: version.packed });
    this.url = `${BASE}/${pathOf(name, asked)}:predict`;
    this.blocks = { curl: new ColumnBlock("curl", true), python: new ColumnBlock("Python"), triton: new ColumnBlock("tritonclient") };
    this.element = make("div", { class: "lines" }, make("h3", {}, "Request from code"), Object.values(this.blocks).map((block) => block.element));
    this.tensors = ask(pathOf(name, version.version, "v2"));
    this.show();
  }

  /** Write the lines for what the form holds now; what no JSON could carry leaves them as they are. */
  async show() {
    let values, chosen;
    try {
      values = this.form.values();
      chosen = this.form.chosen();
    } catch (refused) {
      if (refused instanceof Refused) return;
      throw refused;
    }
    this.blocks.curl.show(curl(this.url, values, chosen));
    this.blocks.python.show(python(this.url, values, chosen));
    const { inputs, outputs } = await this.tensors;
    this.blocks.triton.show(triton(this.name, this.asked, fieldsOf(packedOf(values, this.packed), this.properties), chosen, inputs, outputs));
  }
}

class ColumnBlock {
  constructor(title, open = false) {
    this.code = make("code", {});
    const button = make("button", { type: "button", onclick: () => this.copy(button) }, "Copy");
    this.element = make(
      "details", { class: "fold", name: "lines", open },
      make("summary", {}, title),
      make("div", { class: "code" }, source(`${title} lines`, this.code), button),
    );
  }

  show(text) {
    this.code.textContent = text;
  }

  /** Copied, or where the browser keeps the clipboard to itself (plain HTTP), selected. */
  async copy(button) {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.code);
      button.textContent = "Selected";
    }
  }
}

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const string = (text) => JSON.stringify(text);

export function curl(url, values, chosen) {
  const file = onlyFile(values, chosen);
  const asked = isAsked() ? ` -H "Authorization: Bearer $KEY"` : "";
  if (file) return `curl -s ${shell(url)}${asked} -H 'Content-Type: ${typeOf(file)}' --data-binary ${shell(`@${file.name}`)}`;
  const parts = ['{"instances": [{'];
  for (const [name, { json, file }] of values) {
    parts[parts.length - 1] += `${parts.length > 1 || !parts[0].endsWith("{") ? ", " : ""}${string(name)}: ${json ?? '"'}`;
    if (file) parts.push(file, '"');
  }
  parts[parts.length - 1] += `}]${parametersOf(chosen)}}`;
  const send = `curl -s ${shell(url)}${asked} -H 'Content-Type: application/json'`;
  if (parts.length === 1) return `${send} -d ${shell(parts[0])}`;
  const written = parts.map((part) => (part instanceof File ? `base64 -w0 < ${shell(part.name)}` : `printf %s ${shell(part)}`));
  return `{ ${written.join("; ")}; } |\n  ${send} --data-binary @-`;
}

/** JSON as Python writes it. */
function literal(json) {
  const words = { true: "True", false: "False", null: "None" };
  return json.replace(/"(?:[^"\\]|\\.)*"|true|false|null/g, (token) => words[token] ?? token);
}

/** The key as an item of a Python dict, read from the environment: nobody copies it into a file. */
const KEY = `"Authorization": f"Bearer {os.environ['KEY']}"`;

const read = (file) => `Path(${string(file.name)}).read_bytes()`;

export function python(url, values, chosen) {
  const alone = onlyFile(values, chosen);
  const files = [...values.values()].some(({ file }) => file);
  const row = [...values].map(([name, { json, file }]) => `    ${string(name)}: ${file ? `b64encode(${read(file)}).decode()` : literal(json)},`);
  const parameters = chosen.size ? `, "parameters": ${literal(objectOf(chosen))}` : "";
  const type = alone ? typeOf(alone) : "application/json";
  return [
    "import json",
    ...(isAsked() ? ["import os"] : []),
    ...(files && !alone ? ["from base64 import b64encode"] : []),
    ...(files ? ["from pathlib import Path"] : []),
    "from urllib.request import Request, urlopen",
    "",
    ...(alone ? [`body = ${read(alone)}`] : ["row = {", ...row, "}", `body = json.dumps({"instances": [row]${parameters}}).encode()`]),
    `request = Request(${string(url)}, body, {"Content-Type": ${string(type)}${isAsked() ? `, ${KEY}` : ""}})`,
    'print(json.load(urlopen(request))["predictions"][0])',
  ].join("\n");
}

/** `fields` as `fieldsOf` makes them. */
export function triton(name, asked, fields, chosen, inputs, outputs) {
  const { host, pathname, protocol } = new URL(BASE);
  const place = `${string(host + pathname.replace(/\/$/, ""))}${protocol === "https:" ? ", ssl=True" : ""}`;
  const row = inputs.filter((input) => fields.has(input.name)).map((input) => `    ${string(input.name)}: ${tensor(input, fields.get(input.name))},`);
  const files = [...fields.values()].some(({ file }) => file);
  const local = row.some((line) => line.includes("ZoneInfo("));
  const narrow = inputs.some(({ datatype }) => datatype === "BF16");
  return [
    ...(isAsked() ? ["import os"] : []),
    ...(local ? ["from datetime import datetime"] : []),
    ...(files ? ["from pathlib import Path"] : []),
    ...(local ? ["from zoneinfo import ZoneInfo"] : []),
    ...(local || files || isAsked() ? [""] : []),
    ...(narrow ? ["import ml_dtypes"] : []),
    "import numpy as np",
    "import tritonclient.http as triton",
    "from tritonclient.utils import np_to_triton_dtype",
    "",
    "row = {", ...row, "}",
    `client = triton.InferenceServerClient(${place})`,
    "inputs = [triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)) for name, value in row.items()]",
    "for tensor, value in zip(inputs, row.values()):",
    "    tensor.set_data_from_numpy(value)",
    `answer = client.infer(${string(name)}, inputs${asked ? `, model_version=${string(asked)}` : ""}${chosen.size ? `, parameters=${literal(objectOf(chosen))}` : ""}${isAsked() ? `, headers={${KEY}}` : ""})`,
    ...outputs.map((output) => `print(${string(output.name)}, answer.as_numpy(${string(output.name)}))`),
  ].join("\n");
}

/** One row's tensor as numpy makes it, several texts of a field as a row of them. */
function tensor({ datatype, shape }, { json, file, schema }) {
  const dtype = DTYPES[datatype] ?? `np.${datatype.toLowerCase()}`;
  const texts = json?.startsWith("{") ? JSON.stringify(Object.values(JSON.parse(json))) : json;
  const value = file ? read(file) : datatype === "INT64" && isMoment(schema) ? numbered(json, schema) : literal(texts);
  const nested = value.startsWith("[") ? `[${value}]` : `[[${value}]]`;
  const sides = shape.slice(1);
  const reshaped = sides.length > 1 && sides.every((side) => side > 0) ? `.reshape(1, ${sides.join(", ")})` : "";
  return `np.array(${nested}, ${dtype})${reshaped}`;
}
