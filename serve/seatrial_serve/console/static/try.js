/** Try it: a form made from the contract, the answer, and the same request from code. */

import { showAnswer, showRefusal } from "./answer.js";
import { Refused, ask, exchange, pathOf } from "./api.js";
import { difference } from "./difference.js";
import { make } from "./dom.js";
import { feedbackForm } from "./feedback.js";
import { Form } from "./form.js";
import { timingBar } from "./timings.js";
import { Lines } from "./lines.js";
import { requestOf } from "./request.js";
import { Samples } from "./samples.js";

const BESIDE = "none";

export class Try {
  /** `asked` is the version where the address names one. */
  constructor(model, version, asked) {
    Object.assign(this, { model, version, asked, truth: {} });
    this.form = new Form(version, () => this.predict(), () => this.changed());
    this.samples = new Samples(version, this.form, () => this.changed());
    this.answers = make("div", { class: "answers" }, make("div", { class: "answer" }, make("p", { class: "soft" }, "The answer will stand here.")));
    this.said = make("p", { class: "unseen said", role: "status" });
    this.brief = make("button", { type: "button", class: "brief", hidden: true, onclick: () => this.answers.scrollIntoView({ block: "start" }) });
    this.old = make("p", { class: "old", role: "status" });
    this.lines = new Lines(model.name, asked, version, this.form);
    this.form.rest.append(this.samples.element);
    this.form.buttons.append(this.beside(), this.brief);
    this.element = make(
      "section", { class: "card try", "aria-labelledby": "try" },
      make("h2", { id: "try" }, "Try it"),
      make("div", { class: "columns" }, this.form.element, make("div", { class: "result" }, make("h3", {}, "Answer"), this.old, this.answers, this.said, this.lines.element)),
    );
  }

  /** A choice of a second version that answers the same row, where there is one. */
  beside() {
    const others = this.model.versions.filter(({ version, state }) => version !== this.version.version && state !== "FAILED");
    if (!others.length) return "";
    this.other = make("select", {}, make("option", { value: BESIDE }, BESIDE), others.map(({ version, variant }) => make("option", { value: version }, [version, variant].filter(Boolean).join(", "))));
    return make("label", { class: "soft" }, "Beside it, version ", this.other);
  }

  /** What comes later than the page: examples, and what can be told of an answer. */
  take({ examples, truth }) {
    this.samples.offer(examples);
    this.truth = truth;
  }

  /** The form holds something else: an answer that is shown may be that of another row. */
  changed() {
    this.lines?.show();
    if (this.isCurrent) this.mark(!this.isCurrent());
  }

  /** Mark what is shown as the answer to the row in the form, or as that to one before. */
  mark(old) {
    this.answers.classList.toggle("of-before", old);
    const text = old ? "The form has changed since this answer." : "";
    if (this.old.textContent !== text) this.old.textContent = text;
    this.brief.hidden = old;
  }

  async predict() {
    this.form.clear();
    this.form.busy(true);
    let asked;
    try {
      asked = { values: this.form.values(), chosen: this.form.chosen() };
      const request = await requestOf(asked.values, asked.chosen);
      const other = (this.other?.value ?? BESIDE) === BESIDE ? undefined : this.other.value;
      const own = await this.answered(this.version, this.asked, asked, request);
      const second = other && await this.second(other, asked, request);
      this.answers.replaceChildren(own.element, ...(second ? [second.element] : []));
      if (second?.prediction) this.answers.append(make("p", { class: "difference" }, make("b", {}, "Between the two: "), difference(own.prediction, second.prediction)));
      this.say(second ? `${own.words}; version ${other}: ${second.words}` : own.words);
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      const place = make("div", { class: "answer" });
      this.answers.replaceChildren(place);
      this.say(showRefusal(place, refused, (fault) => this.form.refuse({ faults: [fault] })));
      this.form.refuse(refused);
    } finally {
      this.form.busy(false);
      this.isCurrent = () => asked !== undefined && this.form.holds(asked);
      this.mark(asked !== undefined && !this.isCurrent());
    }
  }

  /** Ask a version, and draw its answer: `{element, words, prediction}`. `number` is part of the path, where it is asked by its number. Throws `Refused`. */
  async answered(version, number, asked, request) {
    const start = performance.now();
    const { said, headers } = await exchange(`${pathOf(this.model.name, number)}:predict`, {
      method: "POST", ...request, headers: { ...request.headers, "X-Server-Timing": "1" },
    });
    const took = performance.now() - start;
    const element = make("div", { class: "answer" });
    const [prediction] = said.predictions;
    const about = make("p", { class: "soft" }, [`Version ${said.model_version}`, version.execution?.variant].filter(Boolean).join(", "));
    const told = Object.keys(this.truth).length > 0 && feedbackForm(this.model.name, said.model_version, this.truth, asked.values, prediction);
    const words = await showAnswer(element, said, version, asked, about, timingBar(took, headers.get("server-timing")), ...(told ? [told] : []));
    return { element, words, prediction };
  }

  /** The same row, asked of another version; what it refuses is its answer here. */
  async second(number, asked, request) {
    try {
      return await this.answered(await ask(pathOf(this.model.name, number)), number, asked, request);
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      const element = make("div", { class: "answer" }, make("p", { class: "soft" }, `Version ${number}`));
      const place = make("div", {});
      element.append(place);
      return { element, words: showRefusal(place, refused, (fault) => this.form.refuse({ faults: [fault] })) };
    }
  }

  /** Say it aloud, and below the form where the answer is out of sight. */
  say(words) {
    this.said.textContent = words;
    this.brief.textContent = words;
    this.brief.hidden = false;
  }
}
