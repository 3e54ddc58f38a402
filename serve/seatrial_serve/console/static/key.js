/** The key of a server that asks for one: typed in, and kept in memory until the page is closed. */

import { make } from "./dom.js";

let key = "";

/** The headers that name whoever asks. */
export function credentials() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Does the server ask for a key? */
export function isAsked() {
  return Boolean(key);
}

/** A form for the key; `refused` is why the last one was not taken. `entered` is called with each one that is typed in. */
export function keyForm(refused, entered) {
  const field = make("input", { type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-said" });
  return make(
    "form", { class: "card key", onsubmit: (event) => {
      event.preventDefault();
      key = field.value.trim();
      entered();
    } },
    make("h1", {}, "This server asks for a key"),
    make("label", { for: "key" }, "Key"), field,
    make("p", { class: "soft", id: "key-said" }, key ? refused : "This page keeps it in memory only, until it is closed or loaded again."),
    make("button", { type: "submit", class: "primary" }, "Go on"),
  );
}
