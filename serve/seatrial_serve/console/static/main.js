/** The page: which models there are, which one is shown, and that both stay true. */

import { ask, pathOf } from "./api.js";
import { make } from "./dom.js";
import { keyForm } from "./key.js";
import { ModelPage } from "./model.js";
import { listModels, sayHealth } from "./models.js";

const EVERY_MS = 3000;
const main = document.querySelector("#main");
let shown;
let page;

/** What the address names, `#/penguins/1.0.0`, or else the first model. */
function chosen(models) {
  const [name, version] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const model = models.find((one) => one.name === name) ?? models[0];
  const known = model?.versions.find((one) => one.version === version);
  return { model, state: known ?? model?.versions.find((one) => one.version === model.serves), asked: known?.version };
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
  const { model, state, asked } = chosen(models);
  listModels(models, model?.name);
  const now = JSON.stringify([model?.name, model?.versions, model?.labels, asked]);
  if (now === shown) return;
  shown = now;
  page?.close();
  page = undefined;
  main.replaceChildren();
  if (!model) main.append(make("p", { class: "card" }, "This server holds no model."));
  else await open(model, state, asked);
}

/** Show the form for a key, once for each reason: whoever types goes on typing. */
function askForKey(refused) {
  sayHealth("A key is needed", false);
  if (shown === refused.message) return;
  shown = refused.message;
  page?.close();
  page = undefined;
  document.querySelector("#models").replaceChildren();
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
  running = running.then(refresh).catch((refused) => sayHealth(refused.message, false));
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
