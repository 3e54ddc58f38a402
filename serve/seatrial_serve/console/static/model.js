/** One version of one model: try it, watch it, see how it was tried, read its contract. */

import { ask } from "./api.js";
import { contractSection } from "./contract.js";
import { facts, make } from "./dom.js";
import { Live } from "./live.js";
import { badge, sayHealth } from "./models.js";
import { notesSection } from "./notes.js";
import { trialsSection } from "./trials.js";
import { Try } from "./try.js";

export class ModelPage {
  /** `model` is from the list, `version` the whole of one version, `asked` the version where the address names one. */
  constructor(model, version, asked) {
    Object.assign(this, { usable: version.contract !== undefined, digest: version.digest, version });
    const ready = this.usable;
    this.live = ready ? new Live(model.name, version) : undefined;
    this.trying = ready ? new Try(model, version, asked) : undefined;
    this.notes = make("div", { hidden: true });
    this.element = make(
      "article", {},
      this.head = head(model, version),
      ready ? [this.trying.element, this.live.element, this.notes, trialsSection(version), contractSection(version)] : notReady(version),
    );
    if (ready) this.complete(model.name, version.version).catch((refused) => sayHealth(refused.message, false));
  }

  /** Does the page hold of this state, with whatever somebody typed into it? One that is loaded, or unloaded, goes on as it is. */
  holdsOf({ state, code, digest }) {
    this.digest ??= digest;
    return this.usable && state !== "FAILED" && !code && (digest ?? this.digest) === this.digest;
  }

  /** Show the state anew. */
  show(model, state) {
    const element = head(model, { ...this.version, ...state });
    this.head.replaceWith(element);
    this.head = element;
  }

  /** What the page can be used without: examples, feedback, release notes. */
  async complete(name, version) {
    const about = await ask(`console/about?model=${encodeURIComponent(name)}&version=${version}`);
    this.trying.take(about);
    this.notes.hidden = !about.release_notes;
    if (about.release_notes) this.notes.replaceWith(notesSection(about.release_notes));
  }

  close() {
    this.live?.close();
  }
}

function head(model, version) {
  const labels = Object.entries(model.labels).filter(([, to]) => to === version.version).map(([label]) => label);
  return make(
    "header", { class: "head" },
    make("h1", {}, model.name),
    badge(version),
    model.versions.length > 1 ? versions(model, version) : make("span", { class: "soft" }, `version ${version.version}`),
    labels.map((label) => make("span", { class: "badge" }, label)),
    version.version === model.serves && model.versions.length > 1 && make("span", { class: "badge" }, "served"),
    version.digest && make("p", { class: "digest" }, "sha256:", version.digest),
    version.signed_by && make("p", { class: "digest" }, `signed by ${version.signed_by.signer} (${version.signed_by.method} ${version.signed_by.identity})`),
  );
}

function versions(model, version) {
  const go = (event) => (location.hash = `#/${encodeURIComponent(model.name)}/${event.target.value}`);
  const options = model.versions.map((one) =>
    make("option", { value: one.version, selected: one.version === version.version }, one.version));
  return make("label", { class: "soft" }, "version ", make("select", { onchange: go }, options));
}

function notReady(version) {
  const loading = version.state === "LOADING";
  return make(
    "section", { class: "card" },
    make("h2", {}, loading ? "Loading" : "Not ready"),
    make("p", {}, loading ? "It is being verified, loaded and tried on this machine; this page follows." : "It takes no traffic."),
    facts([["Code", version.code], ["Why", version.reason]]),
  );
}
