/** What an answer took: the whole way as a bar, one part for each phase in the server. */

import { make } from "./dom.js";
import { count, seconds } from "./format.js";

/** In the order of a request's way; "other" is what no phase measures: parsing, checks, the socket. */
const PHASES = ["load", "queue", "front", "prepare", "run", "encode", "other"];
const MEANINGS = {
  load: "loaded the model", queue: "waited for a batch", front: "made into tensors", prepare: "prepared by its graph", run: "ran in the model", encode: "written as JSON", other: "read, checked, sent",
};

/** The header Server-Timing: name -> `{dur, desc}`, in milliseconds. */
export function timings(header) {
  const metrics = [...(header ?? "").matchAll(/([\w-]+)((?:;[^,]*)?)/g)];
  return Object.fromEntries(metrics.map(([, name, text]) => {
    const said = Object.fromEntries([...text.matchAll(/;(\w+)=(?:"([^"]*)"|([^;]*))/g)].map(([, key, quoted, bare]) => [key, quoted ?? bare]));
    return [name, { dur: Number(said.dur), desc: said.desc }];
  }));
}

/** `took` is the whole round trip in milliseconds, `header` what the server says of its part. */
export function timingBar(took, header) {
  const { total, batch, ...phases } = timings(header);
  const trip = `round trip ${seconds(took / 1000)}`;
  if (!total) return make("p", { class: "soft" }, trip);
  const known = PHASES.filter((name) => phases[name]).map((name) => [name, phases[name].dur]);
  const spans = [...known, ["other", Math.max(0, total.dur - known.reduce((sum, [, ms]) => sum + ms, 0))]];
  const words = spans.map(([name, ms]) => `${name} ${seconds(ms / 1000)}`);
  const parts = spans.map(([name, ms]) => {
    const part = make("span", { class: `part ${name}` });
    part.style.flexGrow = ms / total.dur * 1000; // below 1 together, parts would not fill the bar
    return part;
  });
  return make(
    "div", { class: "timings" },
    make("p", { class: "soft" }, `${trip}, of which ${seconds(total.dur / 1000)} in the server, in a batch of ${count(batch.desc)} row${batch.desc === "1" ? "" : "s"}`),
    make("div", { class: "way", role: "img", "aria-label": `Time in the server: ${words.join(", ")}` }, parts),
    make("ul", { class: "legend" }, spans.map(([name, ms]) => make("li", { title: MEANINGS[name] }, make("span", { class: `part ${name}` }), name, make("b", {}, seconds(ms / 1000))))),
  );
}
