/** Values of a form as tritonclient's tensors: fields of objects by their dotted names, dates as the numbers that V2 has. */

const ZONED = /(?:[Zz]|[+-]\d\d:\d\d)$/;
const DURATION = /^(-)?P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d+))?S)?)?$/;
const DAY_S = 86_400n;
/** Of a year, a month, a week, a day, an hour, a minute and a second, as Pydantic has them. */
const SPANS_S = [365n * DAY_S, 30n * DAY_S, 7n * DAY_S, DAY_S, 3600n, 60n, 1n];

/** The schema of a property's value where it is there. */
export const plain = (property) => property?.anyOf?.find(({ type }) => type !== "null") ?? property;
const isObject = (schema) => schema?.type === "object" && !schema["x-kind"];

/** Name -> `{json, file, schema}` of each field that holds something, those within objects and their lists among them. */
export function fieldsOf(values, properties, around = "") {
  const found = new Map();
  for (const [name, { json, file }] of values) {
    const schema = plain(properties[name]);
    if (json === "null") continue; // such an input is left out
    if (isObject(schema)) {
      const inner = Object.entries(JSON.parse(json)).map(([key, value]) => [key, { json: JSON.stringify(value) }]);
      fieldsOf(inner, schema.properties, `${around}${name}.`).forEach((field, key) => found.set(key, field));
    } else if (schema?.type === "array" && isObject(plain(schema.items))) {
      const rows = JSON.parse(json);
      for (const [key, items] of Object.entries(plain(schema.items).properties)) {
        const column = rows.map((row) => row[key] ?? null);
        const list = [[key, { json: JSON.stringify(column) }]];
        fieldsOf(list, { [key]: { type: "array", items } }, `${around}${name}.`).forEach((field, full) => found.set(full, field));
      }
    } else found.set(`${around}${name}`, { json, file, schema });
  }
  return found;
}

/** The same values with the columns that an input packs in one list, in the order of its tensor. */
export function packedOf(values, packed) {
  const columns = new Set(Object.values(packed).flat());
  const found = new Map([...values].filter(([name]) => !columns.has(name)));
  for (const [name, names] of Object.entries(packed)) found.set(name, { json: `[${names.map((each) => values.get(each)?.json ?? "null").join(", ")}]` });
  return found;
}

/** The JSON of a value as V2 has it in INT64: whole numbers in the place of dates, times and durations, and Python where a zone decides. */
export function numbered(json, schema) {
  const value = JSON.parse(json);
  const one = (text, kind) => {
    if (kind["x-kind"] === "date") return `${BigInt(Date.parse(text)) / 1000n / DAY_S}`;
    if (kind["x-kind"] === "duration") return `${microseconds(text)}`;
    if (ZONED.test(text)) return `${moment(text)}`;
    return `round(datetime.fromisoformat(${JSON.stringify(text)}).replace(tzinfo=ZoneInfo(${JSON.stringify(kind["x-zone"])})).timestamp() * 1e6)`;
  };
  return Array.isArray(value) ? `[${value.map((text) => one(text, plain(schema.items))).join(", ")}]` : one(value, schema);
}

/** Does an input take a text? Token ids may stand in its place. */
export const takesText = (schema) => [schema.type].flat().includes("string");

/** Kinds that are texts in JSON and whole numbers in V2. */
export const MOMENTS = ["date", "datetime", "duration"];
export const isMoment = (schema) => MOMENTS.includes((plain(schema?.items) ?? schema)?.["x-kind"]);

/** Microseconds since 1970-01-01 of a time with its offset; a browser's own clock knows thousandths alone. */
function moment(text) {
  const [, fraction = ""] = text.match(/\.(\d+)/) ?? [];
  const seconds = BigInt(Date.parse(text.replace(/\.\d+/, ""))) / 1000n;
  return seconds * 1_000_000n + BigInt(fraction.padEnd(6, "0").slice(0, 6));
}

function microseconds(text) {
  const [, sign, ...parts] = text.match(DURATION) ?? [];
  const fraction = BigInt((parts[7] ?? "").padEnd(6, "0").slice(0, 6) || 0);
  const whole = SPANS_S.reduce((sum, span, place) => sum + span * BigInt(parts[place] ?? 0), 0n) * 1_000_000n + fraction;
  return sign ? -whole : whole;
}
