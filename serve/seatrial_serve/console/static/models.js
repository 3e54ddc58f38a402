/** The list of models, each with its state, found by name and grouped where they are many, and how the server as a whole is. */

import { make } from "./dom.js";
import { count } from "./format.js";

const STATES = { READY: ["ready", "good"], COLD: ["on demand", ""], LOADING: ["loading", "wait"], FAILED: ["not ready", "bad"] };
const MANY = 12; // models that nobody looks through
const PREFIX = /^[^._-]+/;
const OTHERS = "Others";
/** How the models can be grouped: title of the choice -> the group of a model. */
const GROUPS = {
  "first word": ({ name }) => PREFIX.exec(name)[0],
  state: (model) => { const [text] = stateOf(servedOf(model)); return text[0].toUpperCase() + text.slice(1); },
};

const servedOf = (model) => model.versions.find((one) => one.version === model.serves) ?? model.versions[0];

/** A version's state as words, and their tone; a READY one that has a code does not take traffic either. */
function stateOf({ state, code }) {
  return code && state === "READY" ? STATES.FAILED : STATES[state] ?? [state.toLowerCase().replaceAll("_", " "), ""];
}

/** A word for a version's state, coloured. */
export function badge(version) {
  const [text, tone] = stateOf(version);
  return make("span", { class: `badge ${tone}` }, text);
}

export class ModelList {
  constructor() {
    this.nav = document.querySelector("#models");
    this.search = make("input", { type: "search", id: "find-model", autocomplete: "off", spellcheck: "false", "aria-describedby": "models-found", oninput: () => this.draw() });
    this.by = make("select", { id: "group-by", onchange: () => this.draw() }, Object.keys(GROUPS).map((title) => make("option", {}, title)));
    this.status = make("p", { class: "hint", id: "models-found", role: "status" });
    this.finder = make("div", { class: "finder", hidden: true },
      make("label", { for: "find-model", class: "unseen" }, "Find a model"), this.search, make("label", { for: "group-by", class: "soft" }, "Group by ", this.by), this.status);
    this.search.placeholder = "Find a model";
    this.lists = make("div", { class: "lists" });
    this.nav.replaceChildren(make("h2", {}, "Models"), this.finder, this.lists);
  }

  /** Take what the server says. The list is drawn anew only where something changed: whoever stands in it with the keyboard stays there. */
  show(models, current) {
    const now = JSON.stringify([models, current]);
    if (this.shown !== now) {
      this.shown = now;
      Object.assign(this, { models, current });
      this.finder.hidden = models.length <= MANY;
      this.draw();
    }
    const waiting = models.filter((model) => !model.ready).length;
    sayHealth(waiting ? `${count(waiting)} of ${count(models.length)} not ready` : "All models ready", !waiting);
  }

  hide() {
    this.shown = undefined;
    this.finder.hidden = true;
    this.lists.replaceChildren();
  }

  draw() {
    const focused = this.lists.contains(document.activeElement) && document.activeElement.getAttribute("href");
    const many = !this.finder.hidden;
    const text = many ? this.search.value.trim().toLowerCase() : "";
    const found = this.models.filter(({ name }) => name.toLowerCase().includes(text));
    this.status.textContent = text ? `${count(found.length)} of ${count(this.models.length)} models` : `${count(found.length)} models`;
    const list = (models) => make("ul", {}, models.map((model) => item(model, this.current)));
    const groups = many ? grouped(found, GROUPS[this.by.value]) : [];
    this.lists.replaceChildren(...(groups.length > 1
      ? groups.map(([title, models]) => make("section", { "aria-label": title }, make("h3", {}, `${title} (${count(models.length)})`), list(models)))
      : [list(found)]));
    [...this.lists.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
    const here = this.lists.querySelector("[aria-current]");
    if (here) this.lists.scrollTop += here.getBoundingClientRect().top - this.lists.getBoundingClientRect().top - this.lists.clientHeight / 2;
  }
}

/** `[title, models]` by title; those that are alone in theirs stand together at the end. */
function grouped(models, groupOf) {
  const groups = Map.groupBy(models, groupOf);
  const alone = [...groups.values()].filter((each) => each.length === 1).flat();
  const shared = [...groups].filter(([, each]) => each.length > 1).sort(([one], [other]) => one.localeCompare(other));
  return alone.length ? [...shared, [OTHERS, alone]] : shared;
}

function item(model, current) {
  const served = servedOf(model);
  const more = model.versions.length - 1;
  return make(
    "li", {},
    make(
      "a", { href: `#/${encodeURIComponent(model.name)}`, "aria-current": model.name === current && "page" },
      make("span", { class: "name" }, model.name), badge(served),
      make("span", { class: "soft" }, `${served.version}${more ? ` and ${more} more` : ""}`),
    ),
  );
}

/** One line at the top; said aloud when it changes. */
export function sayHealth(text, good) {
  const health = document.querySelector("#health");
  if (health.textContent !== text) health.textContent = text;
  health.className = good ? "good" : "bad";
}
