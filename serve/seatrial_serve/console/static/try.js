/** Try it: a form made from the contract, the answer, and the lines that ask the same from elsewhere. */

import { showAnswer, showRefusal } from "./answer.js";
import { Refused, ask, pathOf } from "./api.js";
import { make } from "./dom.js";
import { Form } from "./form.js";
import { Lines } from "./lines.js";
import { requestOf } from "./request.js";

export class Try {
  constructor(model, version, asked) {
    this.model = model;
    this.version = version;
    this.path = `${pathOf(model.name, asked)}:predict`;
    this.form = new Form(version, () => this.predict(), () => this.lines?.show());
    this.answer = make("div", { class: "answer" }, make("p", { class: "soft" }, "The answer will stand here."));
    this.said = make("p", { class: "unseen", role: "status" });
    this.lines = new Lines(model.name, asked, version, this.form);
    this.element = make(
      "section", { class: "card try", "aria-labelledby": "try" },
      make("h2", { id: "try" }, "Try it"),
      make("div", { class: "columns" }, this.form.element, make("div", {}, make("h3", {}, "Answer"), this.answer, this.said, this.lines.element)),
    );
  }

  async predict() {
    this.form.clear();
    this.form.busy(true);
    try {
      const asked = { values: this.form.values(), chosen: this.form.chosen() };
      const request = await requestOf(asked.values, asked.chosen);
      const start = performance.now();
      const reply = await ask(this.path, { method: "POST", ...request });
      this.said.textContent = await showAnswer(this.answer, reply, this.version, asked, performance.now() - start);
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      this.said.textContent = showRefusal(this.answer, refused);
      this.form.refuse(refused);
    } finally {
      this.form.busy(false);
    }
  }
}
