// Maps as numbers: unpacked when they are first needed, subtracted, made smaller, coloured.
//
// view.py puts the files of this folder one after the other into a single function of `host`, the element that holds a template
// and the maps; they share its names and nothing else. All is drawn inside a shadow root, so that nothing leaks into the page or
// out of it and any number of views fit beside each other. Nothing is loaded from anywhere.
//
//   data     {title, error, texts: [{title, kind, queries, keys, layers, heads, streams}]}, as `_packed` of view.py writes it
//   panel    what is drawn at one place: {text}, or {text, minus} for a difference; side by side is two panels
//   state    all that a reader can change; every change goes through `set`, which draws anew

const data = JSON.parse(host.querySelector("script[type='application/json']").textContent);
const root = host.attachShadow({ mode: "open" });
root.append(host.querySelector("template").content.cloneNode(true));
const $ = selector => root.querySelector(selector);
const { texts } = data, { layers, heads } = texts[0], several = texts.length > 1, many = texts.length > 2;
const state = {
  view: "heads", from: "heads", layer: 0, head: 0,
  text: many ? texts.length - 1 : 0, against: many ? 0 : texts.length - 1, mode: "alone",
  reach: "peak", curve: "root", least: 3, drawn: new Set([0]), // heads whose lines are drawn
  cursor: null, pinned: false, part: null, held: null, // a cell and whether it stays; what is zoomed to; a word that stays
};
let generation = 0; // of drawings: one that was overtaken stops

function latest(most, make) { // a function that remembers its `most` latest results
  const memory = new Map();
  return (key, ...given) => {
    const value = memory.has(key) ? memory.get(key) : make(...given);
    memory.delete(key);
    memory.set(key, value);
    if (memory.size > most) memory.delete(memory.keys().next().value);
    return value;
  };
}

async function inflate(base64) {
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(base64) : Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  if (!globalThis.DecompressionStream) throw Error("this browser is too old to unpack them (no DecompressionStream)");
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

async function decode(text, layer, head) { // `restore` of packing.py
  const { queries: { length: rows }, keys: { length: columns }, streams, kind } = texts[text];
  const buffer = await inflate(streams[layer][head]);
  const [peak, step] = new Float32Array(buffer, 0, 2), numbers = new Uint16Array(buffer, 8, 3 * rows);
  const codes = new Uint8Array(buffer, 8 + 6 * rows), weights = new Float32Array(rows * columns);
  for (let t = 0, i = 0; t < rows; t++) {
    const top = peak * numbers[t] / 65535, floor = peak * numbers[rows + t] / 65535;
    const shift = 2 * numbers[2 * rows + t] / 65535 - 1, width = Math.max(top / 254, step);
    for (const end = i + columns; i < end; i++) {
      const code = codes[i];
      const side = code === 0 ? 0 : code === 1 ? floor : code === 255 ? top : width * (code - 1 + shift);
      weights[i] = side * side;
    }
  }
  return { weights, rows, columns, peak: peak * peak, masked: kind === "decoder" };
}

async function subtract(first, second) {
  const [a, b] = await Promise.all([first, second]), weights = a.weights.map((weight, i) => weight - b.weights[i]);
  return { ...a, weights, peak: weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0), signed: true };
}

const size = texts[0].queries.length * texts[0].keys.length; // so many maps are kept that they take 100 MB at the most
const oneMap = latest(Math.max(8, Math.min(400, Math.floor(25e6 / size))), decode);
const oneDifference = latest(Math.max(4, Math.min(100, Math.floor(6e6 / size))), subtract);
function mapOf({ text, minus }, layer, head) {
  const plain = text => oneMap(`${text} ${layer} ${head}`, text, layer, head);
  return minus === undefined ? plain(text)
    : oneDifference(`${text} ${minus} ${layer} ${head}`, plain(text), plain(minus));
}

// A part of a map in no more pixels than asked for: each shows the strongest weight beneath it, or NaN where all is masked.
function pool(map, mostRows, mostColumns, [top, bottom, left, right] = [0, map.rows, 0, map.columns]) {
  const rows = Math.max(1, Math.min(bottom - top, Math.floor(mostRows)));
  const columns = Math.max(1, Math.min(right - left, Math.floor(mostColumns)));
  const values = new Float32Array(rows * columns).fill(NaN), across = new Int32Array(map.columns);
  const ahead = map.columns - map.rows; // keys before the first query, as where a text is continued
  for (let s = left; s < right; s++) across[s] = Math.floor((s - left) * columns / (right - left));
  for (let t = top; t < bottom; t++) {
    const row = Math.floor((t - top) * rows / (bottom - top)) * columns;
    for (let s = left; s < right; s++) {
      const weight = map.weights[t * map.columns + s];
      if (map.masked && s > t + ahead && weight === 0) continue;
      const at = row + across[s], there = values[at];
      if (!(map.signed ? Math.abs(there) >= Math.abs(weight) : there >= weight)) values[at] = weight;
    }
  }
  return { values, rows, columns };
}

// --- Colours run from the page's own card towards ink, so that where nothing is looked at nothing is drawn. They differ in
// lightness all the way, and differences are orange and blue: safe for colour blindness.

const STOPS = {
  light: { weights: "ffffff d3ece0 8fd1cb 49adce 2879b8 25489b 1a1c5c",
    signed: "7f3b08 b9610f ec9c4a fbd9ae ffffff b9d0f3 6f9be2 2c5fc4 122f7c" },
  dark: { weights: "1b1d21 1f3556 1f5c8c 2487a8 3fb3a6 93d994 f8f7c4",
    signed: "ffd9a0 f0a050 b8691c 5f3a16 1b1d21 1e3a68 3568b4 7ea6ff cfe0ff" },
};
const bytesOf = hex => [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16));
const pixel = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
function ramp(stops) { // 256 pixels between the stops
  const fixed = stops.split(" ").map(bytesOf);
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const at = i / 255 * (fixed.length - 1), low = Math.min(Math.floor(at), fixed.length - 2);
    return pixel(fixed[low].map((from, c) => Math.round(from + (fixed[low + 1][c] - from) * (at - low))));
  });
}
const ramps = {};
for (const theme in STOPS) ramps[theme] = { weights: ramp(STOPS[theme].weights), signed: ramp(STOPS[theme].signed) };

const curve = share => state.curve === "root" ? Math.sqrt(share) : share;
const uncurve = share => state.curve === "root" ? Math.sign(share) * share * share : share;
async function reachOf(layer, head) { // the weight of the last colour: maps beside each other have the same
  if (state.reach === "one") return 1;
  const shown = await Promise.all(panels().map(panel => mapOf(panel, layer, head)));
  return Math.max(...shown.map(({ peak }) => peak)) || 1;
}

function picture({ values, rows, columns }, peak, signed) {
  const canvas = document.createElement("canvas"), table = ramps[host.dataset.theme][signed ? "signed" : "weights"];
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  const masked = pixel(bytesOf(ink.mask.slice(1)));
  for (let i = 0; i < values.length; i++) {
    const value = values[i], share = curve(Math.min(1, Math.abs(value) / peak));
    pixels[i] = value !== value ? masked
      : table[Math.round(signed ? 127.5 + Math.sign(value) * 127.5 * share : 255 * share)];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
