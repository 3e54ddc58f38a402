/** Release notes that were sealed with the version: the headings, lists and paragraphs of their Markdown, as text. */

import { make } from "./dom.js";

export function notesSection(text) {
  const parts = [];
  for (const line of text.split("\n")) {
    const [, level, title] = /^(#{1,6}) (.*)/.exec(line) ?? [];
    const [, item] = /^[-*] (.*)/.exec(line) ?? [];
    if (title) parts.push(make(level.length > 1 ? "h3" : "p", { class: level.length > 1 ? undefined : "soft" }, title));
    else if (item) {
      if (parts.at(-1)?.tagName !== "UL") parts.push(make("ul", { class: "points" }));
      parts.at(-1).append(make("li", {}, item));
    } else if (line.trim()) parts.push(make("p", {}, line));
  }
  return make("section", { class: "card", "aria-labelledby": "notes" }, make("h2", { id: "notes" }, "Release notes"), parts);
}
