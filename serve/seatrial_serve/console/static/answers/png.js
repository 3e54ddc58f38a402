/** Gray PNGs of 8 or 16 bits, level by level: a canvas keeps only 8 bits of them. (PNG specification, third edition, clauses 5, 9 and 11.) */

/** Levels of all pixels, row after row. Throws where the PNG is of another type, or damaged. */
export async function grayLevels(data) {
  const { width, height, bits, packed } = chunksOf(data);
  const unpacked = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = bits / 8;
  const lines = unfiltered(new Uint8Array(await new Response(unpacked).arrayBuffer()), width * bytes, height, bytes);
  return { width, height, levels: bytes === 1 ? lines : Uint16Array.from({ length: width * height }, (_, at) => lines[2 * at] * 256 + lines[2 * at + 1]) };
}

function chunksOf(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const found = { packed: [] };
  for (let at = 8; at < data.length; at += 12 + view.getUint32(at)) {
    const type = String.fromCharCode(...data.subarray(at + 4, at + 8));
    if (type === "IHDR") {
      const [bits, colour, , , interlaced] = data.subarray(at + 16, at + 21);
      if (colour !== 0 || interlaced !== 0 || (bits !== 8 && bits !== 16)) throw new TypeError("no gray PNG of 8 or 16 bits");
      Object.assign(found, { width: view.getUint32(at + 8), height: view.getUint32(at + 12), bits });
    }
    if (type === "IDAT") found.packed.push(data.subarray(at + 8, at + 8 + view.getUint32(at)));
  }
  return found;
}

/** Lines without their filters; `left` is how many bytes back the pixel beside is. */
function unfiltered(data, size, height, left) {
  if (data.length !== (size + 1) * height) throw new TypeError("a PNG of another size than it says");
  const lines = new Uint8Array(size * height);
  for (let row = 0; row < height; row++) {
    const from = row * (size + 1);
    const to = row * size;
    const filter = data[from];
    for (let at = 0; at < size; at++) {
      const a = at >= left ? lines[to + at - left] : 0;
      const b = row ? lines[to + at - size] : 0;
      const c = at >= left && row ? lines[to + at - size - left] : 0;
      lines[to + at] = data[from + 1 + at] + guess(filter, a, b, c);
    }
  }
  return lines;
}

function guess(filter, a, b, c) {
  if (filter === 0) return 0;
  if (filter === 1) return a;
  if (filter === 2) return b;
  if (filter === 3) return (a + b) >> 1;
  const [toA, toB, toC] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  if (toA <= toB && toA <= toC) return a;
  return toB <= toC ? b : c;
}
