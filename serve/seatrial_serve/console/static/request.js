/** A row as the request that asks about it. */

/** Body and headers for `fetch`: the file itself where that is all there is, else JSON. */
export async function requestOf(values) {
  const file = onlyFile(values);
  if (file) return { body: file, headers: { "Content-Type": typeOf(file) } };
  const texts = await Promise.all([...values].map(async ([name, { json, file }]) => `${JSON.stringify(name)}: ${json ?? `"${await base64(file)}"`}`));
  return { body: `{"instances": [{${texts.join(", ")}}]}`, headers: { "Content-Type": "application/json" } };
}

/** The file, where a row is nothing else. */
export function onlyFile(values) {
  const [first] = values.values();
  return values.size === 1 ? first.file : undefined;
}

/** What a file is sent as; what is no picture is sent all the same, and refused at its field. */
export function typeOf(file) {
  return file.type.startsWith("image/") ? file.type : "application/octet-stream";
}

async function base64(file) {
  const data = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}
