/** The server's own API, as its clients use it: relative to this page, so that it works behind any prefix. */

import { parsed } from "./json.js";
import { credentials } from "./key.js";

const FIELD = /^(input|option) '([^']+)'(?:, row \d+)?: (.*)$/s;

/** What the server, or this page, would not take: its code, and `faults`, each with the input or option that it is about. */
export class Refused extends Error {
  /** `field` is the input that the page itself refuses; `errors` are the server's, one for each input that it refuses, and `more` those that it does not list. */
  constructor(text, code = "", { field, status, request, errors, more } = {}) {
    super(text);
    Object.assign(this, { code, status, request });
    this.faults = errors?.length ? errors.map(({ error, input }) => faultOf(error, input)) : [faultOf(text, field)];
    if (more) this.faults.push({ role: "input", finding: `and ${more} more` });
  }
}

/** `{role, field, finding}`: what is wrong, at which input or option, where one is named. */
function faultOf(text, field) {
  const [, side, named, finding] = FIELD.exec(text) ?? [];
  return { role: side ?? "input", field: field ?? named, finding: finding ?? text };
}

/** The JSON of a GET or, with a body, of a POST. Throws `Refused`. */
export async function ask(path, options) {
  return (await exchange(path, options)).said;
}

/** The same as `said`, with the `headers` that it came with. */
export async function exchange(path, options = {}) {
  const reply = await fetch(path, { ...options, headers: { ...options.headers, ...credentials() } }).catch(() => {
    throw new Refused("The server cannot be reached.");
  });
  const said = await reply.text().then(parsed).catch(() => {
    throw new Refused(`The server answered ${reply.status} without JSON.`);
  });
  if (!reply.ok) throw new Refused(said.error, said.code, { status: reply.status, request: said.request_id, errors: said.errors, more: said.more_errors });
  return { said, headers: reply.headers };
}

/** Where a model, or one version of it, is. */
export function pathOf(name, version, api = "v1") {
  return `${api}/models/${encodeURIComponent(name)}${version ? `/versions/${version}` : ""}`;
}
