/** The server's own API, as its clients use it: relative to this page, so that it works behind any prefix. */

import { credentials } from "./key.js";

const FIELD = /^(input|option) '([^']+)'(?:, row \d+)?: (.*)$/s;

/** What the server, or this page, would not take: its code, and the input or option that it names, where it names one. */
export class Refused extends Error {
  constructor(text, code = "", { role, field, status, request } = {}) {
    super(text);
    const [, side, named, finding] = FIELD.exec(text) ?? [];
    this.code = code;
    this.role = role ?? side ?? "input";
    this.field = field ?? named;
    this.finding = finding ?? text;
    this.status = status;
    this.request = request;
  }
}

/** The JSON of a GET or, with a body, of a POST. Throws `Refused`. */
export async function ask(path, options = {}) {
  const reply = await fetch(path, { ...options, headers: { ...options.headers, ...credentials() } }).catch(() => {
    throw new Refused("The server cannot be reached.");
  });
  const said = await reply.json().catch(() => {
    throw new Refused(`The server answered ${reply.status} without JSON.`);
  });
  if (!reply.ok) throw new Refused(said.error, said.code, { status: reply.status, request: said.request_id });
  return said;
}

/** Where a model, or one version of it, is. */
export function pathOf(name, version, api = "v1") {
  return `${api}/models/${encodeURIComponent(name)}${version ? `/versions/${version}` : ""}`;
}
