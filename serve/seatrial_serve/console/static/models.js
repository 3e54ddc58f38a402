/** The list of models, each with its state, and how the server as a whole is. */

import { make } from "./dom.js";

const STATES = { READY: ["ready", "good"], LOADING: ["loading", "wait"], FAILED: ["not ready", "bad"] };

/** A word for a version's state, coloured; a READY one that has a code does not take traffic either. */
export function badge({ state, code }) {
  const [text, tone] = code && state === "READY" ? STATES.FAILED : STATES[state];
  return make("span", { class: `badge ${tone}` }, text);
}

/** Draw the list anew, but only where something changed: whoever stands in it with the keyboard stays there. */
export function listModels(models, current) {
  const nav = document.querySelector("#models");
  const now = JSON.stringify([models, current]);
  if (nav.dataset.shows !== now) {
    const focused = nav.contains(document.activeElement) && document.activeElement.getAttribute("href");
    nav.replaceChildren(make("h2", {}, "Models"), make("ul", {}, models.map((model) => item(model, current))));
    nav.dataset.shows = now;
    [...nav.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }
  const waiting = models.filter((model) => !model.ready).length;
  sayHealth(waiting ? `${waiting} of ${models.length} not ready` : "All models ready", !waiting);
}

function item(model, current) {
  const served = model.versions.find((one) => one.version === model.serves) ?? model.versions[0];
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
