/** Quantiles of a number: what it is at most with each probability. */

import { facts, fold, make } from "../dom.js";
import { float32 } from "../format.js";
import { firstOf } from "./bars.js";

const AT_ONCE = 9;

export function quantilesAnswer(value, { kind }) {
  const unit = kind.unit ? ` ${kind.unit}` : "";
  const pairs = Object.entries(value).map(([name, one]) => [`quantile ${name}`, `${float32(one)}${unit}`]);
  const rest = pairs.slice(AT_ONCE);
  const element = make("div", {}, facts(pairs.slice(0, AT_ONCE)), rest.length > 0 && fold(`${rest.length} more`, facts(rest)));
  return [element, firstOf(Object.entries(value).map(([name, one]) => `${name}: ${float32(one)}${unit}`))];
}
