/** The page: which models there are, which one is shown, and that both stay true. */

import { ask, pathOf } from "./api.js";
import { make } from "./dom.js";
import { keyForm } from "./key.js";
import { ModelPage } from "./model.js";
import { ModelList, sayHealth } from "./models.js";

const EVERY_MS = 3000;
const NEAR = 5;
const main = document.querySelector("#main");
const list = new ModelList();
let shown, shownState;
let page;

/** What the address names, `#/penguins/1.0.0`: `missing` is what of it is not there. Without a name it is the first model. */
function chosen(models) {
  const [name, version] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const model = name ? models.find((one) => one.name === name) : models[0];
  const known = model?.versions.find((one) => one.version === version);
  if (name && !model) return { missing: `This server holds no model '${name}'.`, near: nearest(name, models) };
  if (version && !known) return { model, missing: `Model '${name}' has no version '${version}' here.`, near: model.versions.map((one) => `${name}/${one.version}`) };
  return { model, state: known ?? model?.versions.find((one) => one.version === model.serves) ?? model?.versions[0], asked: known?.version };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // an address that somebody typed
  }
}

/** The models whose names share most with this one, a few: whole parts, then letters from the beginning. */
function nearest(name, models) {
  const likeness = (other) => {
    const [one, two] = [name.toLowerCase(), other.toLowerCase()];
    const begins = [...one].findIndex((letter, at) => letter !== two[at]);
    return (two.includes(one) || one.includes(two) ? 100 : 0) + (begins < 0 ? one.length : begins);
  };
  return models.map((model) => [likeness(model.name), model.name]).sort(([one], [other]) => other - one).slice(0, NEAR).map(([, each]) => each);
}

/** What the address names is not there, and what is. */
function nothing(missing, near) {
  return make(
    "section", { class: "card" }, make("h1", {}, "Not here"), make("p", {}, `${missing} ${near.length ? "These are here, the nearest first:" : ""}`),
    near.length > 0 && make("ul", { class: "near" }, near.map((each) => make("li", {}, make("a", { href: `#/${each.split("/").map(encodeURIComponent).join("/")}` }, each)))),
  );
}

async function refresh() {
  let models;
  try {
    ({ models } = await ask("v1/models"));
  } catch (refused) {
    if (refused.code === "E_KEY" || refused.code === "E_SCOPE") askForKey(refused);
    else sayHealth(refused.message, false);
    return;
  }
  const { model, state, asked, missing, near } = chosen(models);
  list.show(models, model?.name);
  const others = model?.versions.filter((one) => one !== state).map((one) => [one.version, one.state === "FAILED"]);
  const now = JSON.stringify([model?.name, others, model?.labels, state?.version, asked, missing, near]);
  const nowState = JSON.stringify(state);
  if (now === shown && nowState === shownState) return;
  if (now === shown && page?.holdsOf(state)) {
    page.show(model, state);
    shownState = nowState;
    return;
  }
  [shown, shownState] = [now, nowState];
  page?.close();
  page = undefined;
  main.replaceChildren();
  if (missing) main.append(nothing(missing, near));
  else if (!model) main.append(make("p", { class: "card" }, "This server holds no model."));
  else await open(model, state, asked);
}

/** Show the form for a key, once for each reason: whoever types goes on typing. */
function askForKey(refused) {
  sayHealth("A key is needed", false);
  if (shown === refused.message) return;
  shown = refused.message;
  page?.close();
  page = undefined;
  list.hide();
  main.replaceChildren(keyForm(refused.message, () => {
    shown = undefined;
    refreshSoon();
  }));
}

async function open(model, state, asked) {
  document.title = `${model.name} – seatrial`;
  const detail = await ask(pathOf(model.name, state.version));
  page = new ModelPage(model, { ...state, ...detail }, asked);
  main.replaceChildren(page.element);
}

let running = Promise.resolve();
const refreshSoon = () => {
  running = running.then(refresh).catch((refused) => {
    shown = undefined; // tried again a moment later
    sayHealth(refused.message, false);
  });
  return running;
};
addEventListener("hashchange", async () => {
  if (location.hash && !location.hash.startsWith("#/")) return;
  await refreshSoon();
  main.focus();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("visibilitychange", () => document.hidden || refreshSoon());
setInterval(() => document.hidden || refreshSoon(), EVERY_MS);
refreshSoon();
