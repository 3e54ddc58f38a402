/** Rows out of a text that somebody pasted: JSON, JSON Lines, or CSV as spreadsheets copy it. */

import { Refused } from "./api.js";
import { parsed } from "./json.js";
import { plain, takesText } from "./tensors.js";

const DELIMITERS = ["\t", ";", ","];
const TRUE = ["true", "1", "yes"];
const WANT = 'want a row {"name": value}, {"instances": [...]}, or CSV with a line of names';

/** Name -> value for each row; `version` names the inputs. Throws `Refused`. */
export function rowsOf(text, version) {
  const trimmed = text.trim();
  if (!trimmed) throw new Refused(`pasted text: got nothing, ${WANT}`);
  return /^[{[]/.test(trimmed) ? rowsOfJson(trimmed) : rowsOfCsv(trimmed, version);
}

function rowsOfJson(text) {
  let value;
  try {
    value = parsed(text);
  } catch (odd) {
    try {
      value = text.split("\n").filter((line) => line.trim()).map((line) => parsed(line)); // JSON Lines
    } catch {
      throw new Refused(`pasted text: got no JSON (${odd.message}), ${WANT}`);
    }
  }
  const rows = Array.isArray(value) ? value : Array.isArray(value.instances) ? value.instances : [value];
  if (!rows.length || !rows.every((row) => row && typeof row === "object" && !Array.isArray(row))) throw new Refused(`pasted text: got JSON of something else, ${WANT}`);
  return rows;
}

function rowsOfCsv(text, { inputs, packed }) {
  const names = Object.keys(inputs.properties);
  const columns = new Set(Object.values(packed).flat());
  const delimiter = DELIMITERS.find((one) => text.split("\n")[0].includes(one)) ?? ",";
  const [first, ...others] = csv(text, delimiter);
  const titled = first.some((cell) => names.includes(cell.trim()));
  if (!titled && first.length !== names.length) throw new Refused(`pasted text: got ${first.length} cells, want the ${names.length} inputs in their order, or a first line with their names`);
  const heads = titled ? first.map((cell) => cell.trim()) : names;
  const rows = titled ? others : [first, ...others];
  const odd = rows.findIndex((row) => row.length !== heads.length);
  if (!rows.length || odd >= 0) throw new Refused(`pasted text: got ${rows.length ? `${rows[odd].length} cells in row ${odd + 1}` : "names alone"}, want ${heads.length} cells in each row`);
  return rows.map((row) => Object.fromEntries(row.map((cell, place) => [heads[place], valueOf(cell, inputs.properties[heads[place]], delimiter, columns.has(heads[place]))])));
}

/** A cell as the input's schema has it; what it cannot be stays a text, which the server refuses. */
function valueOf(cell, property, delimiter, packed) {
  const schema = plain(property) ?? {};
  const text = cell.trim();
  if (text === "" && !takesText(schema)) return null;
  if (text === "" && property.anyOf) return null;
  if (schema.enum) return schema.enum.find((word) => String(word) === text) ?? cell;
  if (schema.type === "number" || schema.type === "integer") {
    const number = delimiter === ";" ? text.replace(/^(-?\d+),(\d+)$/, "$1.$2") : text; // as spreadsheets of some countries have it
    return packed && Number.isFinite(Number(number)) ? Number(number) : number;
  }
  if (schema.type === "boolean") return TRUE.includes(text.toLowerCase());
  if (takesText(schema)) return cell;
  try {
    return parsed(text);
  } catch {
    return cell;
  }
}

/** Cells by row (RFC 4180): what stands in quotes may hold delimiters, line ends and, doubled, quotes. */
function csv(text, delimiter) {
  const rows = [[""]];
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at], row = rows.at(-1);
    if (quoted && letter === '"' && text[at + 1] === '"') row[row.length - 1] += text[++at];
    else if (letter === '"' && (quoted || row.at(-1) === "")) quoted = !quoted;
    else if (quoted) row[row.length - 1] += letter;
    else if (letter === delimiter) row.push("");
    else if (letter === "\n") rows.push([""]);
    else if (letter !== "\r") row[row.length - 1] += letter;
  }
  return rows.filter((row) => row.length > 1 || row[0].trim());
}
