/** A picture or a sound: dropped, or chosen, and shown or played before it is sent. */

import { Refused } from "../api.js";
import { fromBase64 } from "../base64.js";
import { make } from "../dom.js";
import { bytes } from "../format.js";

export function fileInput({ name, schema, changed }) {
  const types = schema["x-media-types"];
  const control = make("input", { type: "file", accept: types.join(","), onchange: () => take(control.files[0]) });
  const sound = types[0].startsWith("audio/");
  const preview = sound ? make("audio", { controls: true }) : make("img", { alt: "" });
  const about = make("p", { class: "soft" });
  let file;
  const take = (given) => {
    if (!given) return;
    file = given;
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.setAttribute(sound ? "aria-label" : "alt", `Preview of ${file.name}`);
    about.replaceChildren(`${file.name}, ${bytes(file.size)}`, ...(control.value ? [] : [" ", make("a", { href: preview.src, download: file.name }, "Save it")]));
    changed();
  };
  const value = () => {
    const most = Math.floor((schema.maxLength / 4) * 3);
    if (file.size > most) throw new Refused(`got a file of ${bytes(file.size)}, want at most ${bytes(most)}`, "", { field: name });
    return { file };
  };
  const fill = (example) => {
    control.value = "";
    take(fileFrom(example, types[0]));
  };
  return { control, element: dropZone(take, sound ? "sound" : "picture", control, preview, about), fill, value };
}

function dropZone(take, what, control, preview, about) {
  const over = (event) => {
    event.preventDefault();
    zone.classList.toggle("over", event.type === "dragover");
  };
  const drop = (event) => {
    over(event);
    take(event.dataTransfer.files[0]);
  };
  const zone = make(
    "div", { class: "drop", ondragover: over, ondragleave: over, ondrop: drop },
    preview, make("div", {}, make("p", {}, `Drop a ${what} here, or choose one:`), control, about),
  );
  return zone;
}

/** The contract's own example, a file in base64. */
function fileFrom(base64, type) {
  return new File([fromBase64(base64)], `example.${type.split("/")[1]}`, { type });
}
