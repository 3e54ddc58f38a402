/** Numbers as people read them. */

const PLAIN = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, useGrouping: false });
const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Four significant digits, in powers of ten where it is very large or small. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e6 || size < 1e-3) ? value.toExponential(2) : PLAIN.format(value);
}

/** All that a float32 holds, and whole numbers whole. */
export const float32 = (value) => String(Number.isInteger(value) ? value : Number(value.toPrecision(7)));

/** 12,345 */
export const count = (value) => GROUPED.format(value);

/** 98.2 % */
export const percent = (share) => ((share ?? null) === null ? "–" : `${(100 * share).toFixed(1)} %`);

/** 1.25 ms */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1e-3) return `${PLAIN.format(Math.round(value * 1e6))} µs`;
  return value < 1 ? `${number(Number((value * 1e3).toPrecision(3)))} ms` : `${number(Number(value.toPrecision(3)))} s`;
}

/** 45.4 MB */
export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB"];
  const step = value < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(value) / 3));
  return `${step ? (value / 1000 ** step).toPrecision(3) : value} ${units[step]}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** 21:04:09, from seconds of Unix time. */
export const clock = (at) => CLOCK.format(at * 1000);
