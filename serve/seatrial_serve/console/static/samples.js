/** Rows to fill the form with: examples drawn from the contract, and whatever somebody pastes. */

import { Refused } from "./api.js";
import { fold, make } from "./dom.js";
import { count } from "./format.js";
import { rowsOf } from "./pasted.js";

const FEW = 5;
const INPUT = /^input '(.+?)'/;

export class Samples {
  /** `changed` is called once the form holds another row. */
  constructor(version, form, changed) {
    Object.assign(this, { version, form, changed });
    this.drawn = make("div", {});
    this.text = make("textarea", { rows: 4, class: "mono", spellcheck: "false", id: "pasted", "aria-describedby": "pasted-said", oninput: () => this.read() });
    this.said = make("p", { class: "hint", id: "pasted-said", role: "status" });
    this.rows = make("div", { class: "buttons" });
    this.paste = fold("Paste a row", make("div", { class: "paste" },
      make("label", { for: "pasted" }, "JSON, or CSV with a line of names"), this.text, this.rows, this.said));
    this.element = make("div", { class: "samples" }, this.drawn, this.paste);
  }

  /** Buttons for the first few examples, and the others behind a fold. */
  offer(examples) {
    if (!examples.length) return;
    const buttons = examples.map(({ what, row }) => make("button", { type: "button", class: "small", onclick: () => this.use(row) }, what.replace(INPUT, "$1")));
    const all = make("div", { class: "buttons" }, buttons.slice(FEW));
    this.drawn.replaceChildren(fold("Examples to try",
      make("div", { class: "buttons" }, buttons.slice(0, FEW)), buttons.length > FEW && fold(`${buttons.length - FEW} more`, all)));
  }

  /** Read what was pasted: one row fills the form, of several each gets a button. */
  read() {
    this.rows.replaceChildren();
    this.said.className = "hint";
    this.said.textContent = "";
    if (!this.text.value.trim()) return;
    try {
      const rows = rowsOf(this.text.value, this.version);
      this.choose(rows, 0);
      if (rows.length > 1) this.rows.replaceChildren(this.chooser(rows));
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      this.said.className = "refusal";
      this.said.textContent = refused.message;
    }
  }

  chooser(rows) {
    const options = rows.map((_, place) => make("option", { value: place }, count(place + 1)));
    return make("label", {}, "Row ", make("select", { onchange: (event) => this.choose(rows, Number(event.target.value)) }, options));
  }

  /** Fill the form with the row at a place from 0, which is said as people count. */
  choose(rows, place) {
    const told = this.use(rows[place]);
    this.said.textContent = `${rows.length > 1 ? `Row ${count(place + 1)} of ${count(rows.length)} is` : "The row is"} in the form. ${told}`;
  }

  /** Fill the form; returns which names of the row, and which inputs, were left out. Marks a value that fits nowhere. */
  use(row) {
    const odd = Object.keys(row).filter((name) => !(name in this.version.inputs.properties));
    let left = [];
    try {
      left = this.form.take(row);
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      this.form.refuse(refused);
    }
    this.changed();
    return [odd.length && `No input: ${named(odd)}.`, left.length && `Left as they were: ${named(left)}.`].filter(Boolean).join(" ");
  }
}

const named = (names) => names.slice(0, FEW).join(", ") + (names.length > FEW ? ` and ${count(names.length - FEW)} more` : "");
