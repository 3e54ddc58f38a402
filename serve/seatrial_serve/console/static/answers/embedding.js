/** An embedding: how many numbers of which form, how long the vector is, and how it begins. */

import { fromBase64 } from "../base64.js";
import { facts, make } from "../dom.js";
import { count, number } from "../format.js";
import { curve } from "./curve.js";

const FEW = 8;
const ARRAYS = { float32: Float32Array, float16: globalThis.Float16Array, int8: Int8Array, uint8: Uint8Array, binary: Int8Array, ubinary: Uint8Array };
const BITS = ["binary", "ubinary"];

export function embeddingAnswer(value, { chosen }) {
  const form = JSON.parse(chosen.get("form") ?? '"float32"');
  const values = typeof value === "string" ? unpacked(value, form) : value;
  if (!Array.isArray(values) || !values.every((one) => typeof one === "number")) throw new TypeError("no vector of numbers");
  const bits = BITS.includes(form);
  const norm = number(Math.sqrt(values.reduce((sum, one) => sum + one * one, 0)));
  const size = bits ? `${count(8 * values.length)} bits in ${count(values.length)} bytes` : `${count(values.length)} numbers`;
  const element = make(
    "div", {},
    facts([["Size", size], ["Form", form], ["Length", !bits && norm]]),
    make("p", { class: "mono" }, `${values.slice(0, FEW).map(number).join(", ")}${values.length > FEW ? ", …" : ""}`),
    values.length > FEW && !bits && curve(values),
  );
  return [element, bits ? size : `${size}, length ${norm}`];
}

/** Numbers of little-endian bytes in base64. Throws where the browser has no such numbers. */
function unpacked(base64, form) {
  return [...new ARRAYS[form](fromBase64(base64).buffer)];
}
