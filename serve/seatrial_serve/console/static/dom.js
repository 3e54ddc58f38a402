/** Elements, made of text alone: nothing that a bundle or a server says is ever read as HTML. */

/** An element with attributes (`onclick` and its like are listeners) and children; what is false, null, undefined or empty is left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

/** A table that scrolls by itself where the page is narrow; cells are text or elements. */
export function table(caption, heads, rows) {
  const head = make("tr", {}, heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...rest]) =>
    make("tr", {}, make("th", { scope: "row" }, first), rest.map((cell) => make("td", {}, cell))),
  );
  return make(
    "div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, body)),
  );
}

/** A list of names and what they are; pairs without a value are left out. */
export function facts(pairs) {
  return make("dl", { class: "facts" }, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

/** Text as it stands, which scrolls by itself, by the keyboard too. */
export function source(label, text) {
  return make("pre", { tabindex: 0, role: "region", "aria-label": label }, text);
}

/** Something long that opens at a click. */
export function fold(summary, ...children) {
  return make("details", { class: "fold" }, make("summary", {}, summary), children);
}
