/** A row, and the options chosen for it, as the request that asks about it. */

import { toBase64 } from "./base64.js";

/** Body and headers for `fetch`: the file itself where that is all there is, else JSON. */
export async function requestOf(values, chosen) {
  const file = onlyFile(values, chosen);
  if (file) return { body: file, headers: { "Content-Type": typeOf(file) } };
  return jsonRequest(`{"instances": [${await rowOf(values)}]${parametersOf(chosen)}}`);
}

/** Body and headers of JSON. */
export const jsonRequest = (body) => ({ body, headers: { "Content-Type": "application/json" } });

/** The row as JSON, its files in base64. */
export async function rowOf(values) {
  const texts = await Promise.all([...values].map(async ([name, { json, file }]) => `${JSON.stringify(name)}: ${json ?? `"${toBase64(new Uint8Array(await file.arrayBuffer()))}"`}`));
  return `{${texts.join(", ")}}`;
}

/** The file, where a request is nothing else. */
export function onlyFile(values, chosen) {
  const [first] = values.values();
  return values.size === 1 && chosen.size === 0 ? first.file : undefined;
}

/** What follows the rows in a body: the options, where any are chosen. */
export function parametersOf(chosen) {
  return chosen.size ? `, "parameters": ${objectOf(chosen)}` : "";
}

/** Name -> JSON as one object. */
export function objectOf(chosen) {
  return `{${[...chosen].map(([name, json]) => `${JSON.stringify(name)}: ${json}`).join(", ")}}`;
}

/** What a file is sent as; what is neither picture nor sound is sent all the same, and refused at its field. */
export function typeOf(file) {
  return /^(image|audio)\//.test(file.type) ? file.type : "application/octet-stream";
}
