// The viewer of attention maps: called with its host element, which holds a template and the maps. Draws everything inside a
// shadow root, so that nothing leaks in or out of the page and any number of views fit beside each other. Loads nothing.
//
//   data      what view.py packed: {title, error, texts: [{title, kind, queries, keys, layers, heads, streams}]}
//   panel     what is drawn: {text}, or {text, minus} for a difference; side by side is two panels
//   state     all that the reader can change; every change goes through `set`, which draws anew
(host => {
  "use strict";
  if (!host || host.shadowRoot) return;
  const data = JSON.parse(host.querySelector("script[type='application/json']").textContent);
  const root = host.attachShadow({ mode: "open" });
  root.append(host.querySelector("template").content.cloneNode(true));
  const $ = selector => root.querySelector(selector);
  const stage = $(".stage"), tip = $(".tip");
  const texts = data.texts, { layers, heads } = texts[0], count = heads.length;
  const sameWords = (a, b) => texts[a].queries.length === texts[b].queries.length && texts[a].keys.length === texts[b].keys.length;
  const LEAST = [0, 0.01, 0.02, 0.05, 0.1, 0.2];
  const state = { view: "heads", from: "heads", layer: 0, head: 0, text: 0, against: texts.length > 1 ? 1 : 0, mode: "alone",
    reach: "peak", curve: "root", least: 3, drawn: new Set([0]), cursor: null, pinned: false, part: null };
  let generation = 0; // of drawings: one that was overtaken stops

  // --- Maps: decoded when they are first needed, the latest kept.

  const latest = (most, make) => { // a memory of the last `most` results
    const memory = new Map();
    return (key, ...given) => {
      const value = memory.has(key) ? memory.get(key) : make(...given);
      memory.delete(key); memory.set(key, value);
      if (memory.size > most) memory.delete(memory.keys().next().value);
      return value;
    };
  };

  async function inflate(base64) {
    const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(base64) : Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  async function decode(text, layer, head) { // the inverse of `quantise` in packing.py
    const { queries: { length: rows }, keys: { length: columns }, streams } = texts[text];
    const buffer = await inflate(streams[layer][head]);
    const [peak, step] = new Float32Array(buffer, 0, 2), numbers = new Uint16Array(buffer, 8, 3 * rows);
    const codes = new Uint8Array(buffer, 8 + 6 * rows), weights = new Float32Array(rows * columns);
    for (let t = 0, i = 0; t < rows; t++) {
      const top = peak * numbers[t] / 65535, floor = peak * numbers[rows + t] / 65535;
      const shift = numbers[2 * rows + t] / 65535 - 0.5, width = Math.max(top / 254, step);
      for (const end = i + columns; i < end; i++) {
        const code = codes[i];
        const side = code === 0 ? 0 : code === 1 ? floor : code === 255 ? top : width * (code - 1 + shift);
        weights[i] = side * side;
      }
    }
    return { weights, rows, columns, peak: peak * peak, masked: texts[text].kind === "decoder" };
  }

  async function subtract(first, second) {
    const [a, b] = await Promise.all([first, second]), weights = a.weights.map((weight, i) => weight - b.weights[i]);
    return { ...a, weights, peak: weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0), signed: true };
  }

  const roomFor = texts[0].queries.length * texts[0].keys.length; // about 100 MB of maps at the most
  const single = latest(Math.max(8, Math.min(400, Math.floor(25e6 / roomFor))), decode);
  const plain = (text, layer, head) => single(`${text} ${layer} ${head}`, text, layer, head);
  const difference = latest(16, subtract);
  const mapOf = ({ text, minus }, layer, head) => minus === undefined ? plain(text, layer, head)
    : difference(`${text} ${minus} ${layer} ${head}`, plain(text, layer, head), plain(minus, layer, head));

  const panels = () => state.mode === "beside" ? [{ text: state.text }, { text: state.against }]
    : state.mode === "difference" ? [{ text: state.against, minus: state.text }] : [{ text: state.text }];
  const titleOf = ({ text, minus }) => texts[text].title + (minus === undefined ? "" : ` minus ${texts[minus].title}`);

  // A part of a map at no more pixels than asked: each shows the strongest weight beneath it, or NaN where all is masked.
  function pool(map, mostRows, mostColumns, part = [0, map.rows, 0, map.columns]) {
    const [top, bottom, left, right] = part;
    const rows = Math.max(1, Math.min(bottom - top, Math.floor(mostRows)));
    const columns = Math.max(1, Math.min(right - left, Math.floor(mostColumns)));
    const values = new Float32Array(rows * columns).fill(NaN), across = new Int32Array(map.columns);
    for (let s = left; s < right; s++) across[s] = Math.floor((s - left) * columns / (right - left));
    for (let t = top; t < bottom; t++) {
      const row = Math.floor((t - top) * rows / (bottom - top)) * columns;
      for (let s = left; s < right; s++) {
        const weight = map.weights[t * map.columns + s];
        if (map.masked && s > t && weight === 0) continue;
        const at = row + across[s], there = values[at];
        if (!(map.signed ? Math.abs(there) >= Math.abs(weight) : there >= weight)) values[at] = weight;
      }
    }
    return { values, rows, columns };
  }

  // --- Colours: from the page's own card to ink, so that nothing is drawn where nothing is looked at. Safe for colour blindness.

  const STOPS = {
    light: { weights: "ffffff d9efe3 9ad6cf 4fb3cf 2a7fba 25489b 1a1c5c", signed: "7f3b08 b9610f ec9c4a fbd9ae ffffff b9d0f3 6f9be2 2c5fc4 122f7c" },
    dark: { weights: "1b1d21 1f3556 1f5c8c 2487a8 3fb3a6 93d994 f8f7c4", signed: "ffd9a0 f0a050 b8691c 5f3a16 1b1d21 1e3a68 3568b4 7ea6ff cfe0ff" } };
  const tables = {};
  for (const theme in STOPS) for (const kind in STOPS[theme]) {
    const stops = STOPS[theme][kind].split(" ").map(hex => [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16)));
    (tables[theme] ??= {})[kind] = Uint32Array.from({ length: 256 }, (_, i) => {
      const at = i / 255 * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
      const [r, g, b] = stops[low].map((from, c) => Math.round(from + (stops[low + 1][c] - from) * (at - low)));
      return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
    });
  }
  const theme = () => host.dataset.theme;
  const ink = name => getComputedStyle(host).getPropertyValue("--" + name).trim();
  const headColour = head => `oklch(${ink("tone")} 0.16 ${(255 + 360 * head / count) % 360})`;
  const curve = share => state.curve === "root" ? Math.sqrt(share) : share;
  const reach = map => state.reach === "one" ? 1 : map.peak || 1;

  function picture({ values, rows, columns }, peak, signed) {
    const canvas = document.createElement("canvas"), table = tables[theme()][signed ? "signed" : "weights"];
    canvas.width = columns; canvas.height = rows;
    const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
    const mask = ink("mask").match(/\w\w/g).map(byte => parseInt(byte, 16));
    const masked = (255 << 24 | mask[2] << 16 | mask[1] << 8 | mask[0]) >>> 0;
    values.forEach((value, i) => {
      const share = curve(Math.min(1, Math.abs(value) / peak));
      pixels[i] = value !== value ? masked : table[Math.round(signed ? 127.5 + Math.sign(value) * 127.5 * share : 255 * share)];
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  // --- Words and numbers. A token stays as it is; marks of its tokenizer are shown quietly.

  const written = w => { const size = Math.abs(w), sign = w < 0 ? "\u2212" : "";
    return sign + (size === 0 ? "0" : size < 5e-4 ? size.toExponential(1) : size.toFixed(size < 0.01 ? 4 : 3)); };
  const QUIET = { "\n": "\u21b5", "\u010a": "\u21b5", "\t": "\u21e5", "\u0109": "\u21e5", " ": "\u00b7", "\u0120": "\u00b7", "\u2581": "\u00b7" };
  function wordParts(word) { // [text, quiet] pairs
    if (word === "") return [["\u2205", true]];
    if (/^(\[.+\]|<.+>)$/.test(word)) return [[word, true]];
    const [, before, middle, after] = word.match(/^(##|[\s\u0120\u2581\u010a\u0109]*)([^]*?)(<\/w>|[\s\u0120\u2581\u010a\u0109]*)$/);
    const quiet = marks => marks === "##" || marks === "</w>" ? marks : [...marks].map(mark => QUIET[mark] ?? "\u00b7").join("");
    return [[quiet(before), true], [middle, false], [quiet(after), true]].filter(([text]) => text);
  }
  function element(tag, name, ...content) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...content);
    return made;
  }
  function wordNode(word) {
    const parts = wordParts(word), made = element("span", "word");
    made.title = word;
    if (parts.every(([, quiet]) => quiet)) made.classList.add("special");
    made.append(...parts.map(([text, quiet]) => quiet ? element("span", "mark", text) : text));
    return made;
  }
  function drawWord(pen, word, x, y, { align = "left", most = 140, strong = false, before = "" } = {}) {
    let parts = wordParts(word);
    if (before) parts = [[before + " ", true], ...parts];
    const glyphs = parts.flatMap(([text, quiet]) => [...text].map(glyph => [glyph, quiet]));
    const runs = kept => kept.reduce((all, [glyph, quiet]) => { const last = all.at(-1);
      if (last && last[1] === quiet) last[0] += glyph; else all.push([glyph, quiet]); return all; }, []);
    let drawn = runs(glyphs), width = 0;
    const measure = () => drawn.reduce((sum, [text]) => sum + pen.measureText(text).width, 0);
    for (let n = glyphs.length; (width = measure()) > most && n > 1; n--) drawn = runs([...glyphs.slice(0, n - 1), ["\u2026", true]]);
    let at = align === "right" ? x - width : x;
    pen.textAlign = "left"; pen.textBaseline = "middle";
    for (const [text, quiet] of drawn) {
      pen.fillStyle = ink(strong ? "ink" : quiet && parts.length > 1 ? "faint" : "soft");
      pen.fillText(text, at, y);
      at += pen.measureText(text).width;
    }
    return width;
  }
  const font = (size, weight = 400) => `${weight} ${size}px ${getComputedStyle(host).fontFamily}`;

  function sharp(canvas, width, height) { // a canvas of this size on the page, in the screen's own pixels
    const scale = Math.min(devicePixelRatio || 1, 3);
    canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
    canvas.style.width = width + "px"; canvas.style.height = height + "px";
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    return pen;
  }

  function say(panel, layer, head, t, s, weight) {
    const { queries, keys } = texts[panel.text], line = $(".status");
    line.replaceChildren(wordNode(queries[t]), " \u2192 ", wordNode(keys[s]), " ", element("b", "", written(weight)),
      ` \u2003 layer ${layers[layer]}, head ${heads[head]}${texts.length > 1 ? ", " + titleOf(panel) : ""}`);
  }
  function showTip(event, panel, layer, head, t, s, weight, note = "") {
    const { queries, keys } = texts[panel.text], box = $(".view").getBoundingClientRect();
    tip.replaceChildren(wordNode(queries[t]), " \u2192 ", wordNode(keys[s]), " \u2002", element("b", "", written(weight)));
    if (note) tip.append(document.createElement("br"), element("small", "", note));
    tip.hidden = false;
    const x = event.clientX - box.left, y = event.clientY - box.top;
    tip.style.left = Math.max(4, Math.min(x + 16, box.width - tip.offsetWidth - 6)) + "px";
    tip.style.top = (y + 20 + tip.offsetHeight > box.height ? y - tip.offsetHeight - 12 : y + 20) + "px";
    say(panel, layer, head, t, s, weight);
  }
  const hideTip = () => { tip.hidden = true; };

  // --- Heads of a layer, and all layers by heads: buttons with a small map each.

  function evenly(width) { // the number of columns, between 120 and 210 pixels each, that leaves the last row least empty
    const most = Math.max(2, Math.floor(width / 120)), least = Math.max(2, Math.ceil(width / 210));
    if (count <= most) return Math.max(count, least);
    let best = most;
    for (let n = most; n >= least; n--) if ((n - count % n) % n < (best - count % best) % best) best = n;
    return best;
  }

  function makeGrid(panel, whole) {
    const box = element("div", whole ? "model" : "grid"), cells = [];
    if (whole) {
      box.style.gridTemplateColumns = `max-content repeat(${count}, minmax(0, 1fr))`;
      box.append(element("span", "side row", ""), ...heads.map(head => element("span", "side", head)));
    }
    for (const layer of whole ? layers.keys() : [null]) {
      if (whole) box.append(element("span", "side row", (layer === 0 ? "layer " : "") + layers[layer]));
      for (const head of heads.keys()) {
        const cell = element("button", "cell", document.createElement("canvas"));
        cell.type = "button";
        cell.dataset.head = head;
        if (!whole) cell.append(element("span", "name", element("b", "", `head ${heads[head]}`), element("span", "peak")));
        const at = () => layer ?? state.layer;
        cell.onclick = () => set({ view: "map", from: state.view, layer: at(), head, cursor: null, pinned: false, part: null });
        cell.onpointermove = event => readCell(event, cell, panel, at(), head);
        cell.onpointerleave = hideTip;
        box.append(cell);
        cells.push({ cell, at, head });
      }
    }
    const draw = async mine => {
      if (!whole) box.style.gridTemplateColumns = `repeat(${evenly(box.clientWidth)}, minmax(0, 1fr))`;
      for (const { cell, at, head } of cells) {
        cell.tabIndex = at() === state.layer && head === state.head ? 0 : -1;
        cell.classList.toggle("chosen", cell.tabIndex === 0);
        cell.setAttribute("aria-label", `layer ${layers[at()]}, head ${heads[head]}`);
      }
      for (const { cell, at, head } of cells) await drawCell(cell, panel, at(), head, mine);
    };
    return { box, draw };
  }

  async function drawCell(cell, panel, layer, head, mine) {
    const map = await mapOf(panel, layer, head);
    if (mine !== generation) return;
    const canvas = cell.querySelector("canvas"), width = cell.clientWidth || 120, most = width * Math.min(devicePixelRatio || 1, 2);
    const pooled = pool(map, most, most);
    const small = picture(pooled, reach(map), map.signed);
    canvas.width = pooled.columns; canvas.height = pooled.rows;
    canvas.classList.toggle("enlarged", pooled.columns < most);
    canvas.style.aspectRatio = Math.max(0.4, Math.min(2.5, map.columns / map.rows));
    canvas.getContext("2d").drawImage(small, 0, 0);
    canvas.dataset.drawn = `${panel.text} ${layer} ${head}`;
    const peak = cell.querySelector(".peak");
    if (peak) peak.textContent = `${map.signed ? "\u00b1" : "peak "}${written(map.peak)}`;
  }

  async function readCell(event, cell, panel, layer, head) {
    const box = cell.querySelector("canvas").getBoundingClientRect(), map = await mapOf(panel, layer, head);
    const side = (at, length, pixels, n) => { // the tokens under the pointer: one, or those that share its place
      const share = Math.min(Math.max(at / length, 0), 0.9999), wide = Math.max(1, n / pixels);
      const from = Math.floor(share * n / wide) * wide;
      return [Math.floor(from), Math.min(n, Math.ceil(from + wide))]; };
    const [top, bottom] = side(event.clientY - box.top, box.height, box.height, map.rows);
    const [left, right] = side(event.clientX - box.left, box.width, box.width, map.columns);
    let best = [top, left];
    for (let t = top; t < bottom; t++) for (let s = left; s < right; s++)
      if (Math.abs(map.weights[t * map.columns + s]) > Math.abs(map.weights[best[0] * map.columns + best[1]])) best = [t, s];
    showTip(event, panel, layer, head, ...best, map.weights[best[0] * map.columns + best[1]], `layer ${layers[layer]}, head ${heads[head]}`);
  }

  // --- One map with its words on both axes.

  function makeMap(panel) {
    const canvas = document.createElement("canvas"), reading = element("div", "reading"), holder = element("div", "");
    const whole = element("button", "whole", "Whole map");
    whole.type = "button"; whole.hidden = true; whole.onclick = () => set({ part: null });
    canvas.tabIndex = 0; canvas.setAttribute("role", "img");
    holder.append(whole, canvas);
    const box = element("div", "open", holder, reading), { queries, keys } = texts[panel.text];
    let map, size, base, dragged = null;

    function layOut() {
      const [top, bottom, left, right] = state.part ?? [0, map.rows, 0, map.columns];
      const rows = bottom - top, columns = right - left, width = holder.clientWidth, pen = canvas.getContext("2d");
      pen.font = font(12);
      const longest = words => Math.min(width < 420 ? 74 : 118, Math.max(...words.map(word => pen.measureText(word).width), 20));
      const numbered = (words, n) => n > width / 6 ? 28 : 0;
      const labels = Math.ceil(longest(queries.slice(top, bottom)) + numbered(queries, rows)) + 16;
      const heading = Math.ceil(longest(keys.slice(left, right)) + numbered(keys, columns)) + 16;
      let cell = (width - labels - 4) / columns;
      const slanted = Math.min(cell, 30) >= 15;
      if (slanted) cell = (width - labels - 4 - 0.72 * heading) / columns;
      cell = Math.min(cell, rows <= 12 ? 44 : 30, Math.max(1100 / rows, 1));
      return { top, left, rows, columns, labels, cell, slanted, head: slanted ? Math.ceil(heading * 0.75) : heading,
        width: labels + cell * columns + (slanted ? 0.72 * heading : 4), height: cell * rows };
    }

    function paint() {
      const { top, left, rows, columns, labels, cell, slanted, head, width, height } = size;
      const pen = sharp(canvas, width, head + height + 1), { cursor } = state;
      const hit = cursor && cursor[0] >= top && cursor[0] < top + rows && cursor[1] >= left && cursor[1] < left + columns ? cursor : null;
      pen.imageSmoothingEnabled = base.width > columns * cell * 1.01;
      pen.drawImage(base, labels, head, cell * columns, height);
      if (cell >= 9) {
        pen.strokeStyle = ink("card"); pen.lineWidth = 1; pen.globalAlpha = 0.7; pen.beginPath();
        for (let i = 1; i < columns; i++) { pen.moveTo(labels + i * cell, head); pen.lineTo(labels + i * cell, head + height); }
        for (let i = 1; i < rows; i++) { pen.moveTo(labels, head + i * cell); pen.lineTo(labels + columns * cell, head + i * cell); }
        pen.stroke(); pen.globalAlpha = 1;
      }
      pen.strokeStyle = ink("rule"); pen.strokeRect(labels - 0.5, head - 0.5, cell * columns + 1, height + 1);
      const every = need => [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find(n => n * cell >= need) ?? 1000;
      const label = (words, i, along, strong, thin) => {
        pen.save();
        pen.font = font(cell < 12.5 && thin === 1 ? Math.max(9, cell - 1) : 12, strong ? 650 : 400);
        const options = { strong, before: thin > 4 ? String(i) : "" };
        if (along) drawWord(pen, words[i], labels - 7, head + (i - top + 0.5) * cell, { ...options, align: "right", most: labels - 12 });
        else {
          pen.translate(labels + (i - left + 0.5) * cell, head - 6);
          pen.rotate(slanted ? -Math.PI / 4 : -Math.PI / 2);
          drawWord(pen, words[i], slanted ? 2 : 0, 0, { ...options, most: (slanted ? head / 0.75 : head) - 12 });
        }
        pen.restore();
      };
      const axis = (words, from, n, along, chosen) => { // words that would overlap are thinned out, and those left are numbered
        const thin = every(n * cell > 40 * 12 || cell < 9.5 ? (cell >= 9.5 ? 9.5 : 13) : 9.5), near = Math.ceil(13 / cell);
        for (let i = Math.ceil(from / thin) * thin; i < from + n; i += thin)
          if (chosen === undefined || i === chosen || Math.abs(i - chosen) >= near) label(words, i, along, i === chosen, thin);
        if (chosen !== undefined && chosen % thin) label(words, chosen, along, true, thin);
      };
      axis(queries, top, rows, true, hit?.[0]);
      axis(keys, left, columns, false, hit?.[1]);
      if (hit) {
        const x = labels + (hit[1] - left) * cell, y = head + (hit[0] - top) * cell;
        pen.strokeStyle = ink("ink"); pen.globalAlpha = 0.34; pen.lineWidth = 1;
        pen.strokeRect(labels, y, cell * columns, cell); pen.strokeRect(x, head, cell, height);
        pen.globalAlpha = 1; pen.lineWidth = 2; pen.strokeRect(x - 1, y - 1, Math.max(cell, 3) + 2, Math.max(cell, 3) + 2);
      }
      if (dragged?.to) {
        const [a, b] = [dragged.from, dragged.to], x = labels + (Math.min(a[1], b[1]) - left) * cell, y = head + (Math.min(a[0], b[0]) - top) * cell;
        pen.fillStyle = pen.strokeStyle = ink("accent"); pen.lineWidth = 1.5;
        const box = [x, y, (Math.abs(a[1] - b[1]) + 1) * cell, (Math.abs(a[0] - b[0]) + 1) * cell];
        pen.strokeRect(...box); pen.globalAlpha = 0.12; pen.fillRect(...box); pen.globalAlpha = 1;
      }
    }

    function read() {
      const { cursor } = state;
      if (!cursor || cursor[0] >= map.rows || cursor[1] >= map.columns) {
        reading.replaceChildren(element("p", "", `Layer ${layers[state.layer]}, head ${heads[state.head]}. Rows look, columns are looked at. Move over the map to read it; a click holds the place.`));
        return;
      }
      const [t, s] = cursor, row = map.weights.subarray(t * map.columns, (t + 1) * map.columns), most = Math.max(map.signed ? map.peak : Math.max(...row), 1e-12);
      const order = [...row.keys()].sort((a, b) => Math.abs(row[b]) - Math.abs(row[a])).slice(0, 8);
      if (!order.includes(s)) order.push(s);
      const line = key => {
        const bar = element("i", row[key] < 0 ? "less" : ""), made = element("li", key === s ? "now" : "", wordNode(keys[key]), element("span", "track", bar), element("b", "", written(row[key])));
        bar.style.width = 100 * Math.min(1, Math.abs(row[key]) / most) + "%";
        return made;
      };
      reading.replaceChildren(element("h4", "", wordNode(queries[t]), " \u2192 ", wordNode(keys[s])),
        element("p", "", `word ${t} \u2192 word ${s}`), element("div", "big", written(row[s])), element("ol", "", ...order.map(line)));
    }

    const place = event => {
      const box = canvas.getBoundingClientRect();
      const t = size.top + Math.floor((event.clientY - box.top - size.head) / size.cell), s = size.left + Math.floor((event.clientX - box.left - size.labels) / size.cell);
      return t >= size.top && t < size.top + size.rows && s >= size.left && s < size.left + size.columns ? [t, s] : null;
    };
    canvas.onpointermove = event => {
      if (!size) return;
      const at = place(event);
      if (dragged) { if (at && (Math.abs(event.clientX - dragged.x) > 6 || dragged.to)) { dragged.to = at; hideTip(); paint(); } return; }
      if (at && !state.pinned) point(at);
      if (at) showTip(event, panel, state.layer, state.head, ...at, map.weights[at[0] * map.columns + at[1]]); else hideTip();
    };
    canvas.onpointerleave = () => { hideTip(); if (!state.pinned && !dragged) point(null); };
    canvas.onpointerdown = event => {
      const at = size && place(event);
      if (at && event.pointerType === "mouse") { dragged = { from: at, x: event.clientX, to: null }; canvas.setPointerCapture(event.pointerId); }
      else if (at) point(at, true);
    };
    canvas.onpointerup = event => {
      if (!dragged) return;
      const { from: a, to: b } = dragged;
      dragged = null;
      if (b && (a[0] !== b[0] || a[1] !== b[1])) set({ part: [Math.min(a[0], b[0]), Math.max(a[0], b[0]) + 1, Math.min(a[1], b[1]), Math.max(a[1], b[1]) + 1] });
      else point(a, !state.pinned || String(a) !== String(state.cursor));
    };

    const draw = async mine => {
      map = await mapOf(panel, state.layer, state.head);
      if (mine !== generation) return;
      size = layOut();
      const scale = devicePixelRatio || 1;
      base = picture(pool(map, size.height * scale, size.columns * size.cell * scale, state.part ?? undefined), reach(map), map.signed);
      canvas.setAttribute("aria-label", `Attention of layer ${layers[state.layer]}, head ${heads[state.head]}, ${titleOf(panel)}; shift and arrows read it`);
      canvas.dataset.drawn = `${panel.text} ${state.layer} ${state.head}`;
      canvas.dataset.frame = [size.labels, size.head, size.cell, size.top, size.left].join(" ");
      whole.hidden = !state.part;
      paint(); read(); legend(map);
    };
    const follow = () => { if (size) { paint(); read(); } };
    return { box, draw, follow, value: (t, s) => map?.weights[t * map.columns + s] };
  }

  function point([t, s] = [], pinned = false) { // every panel follows the same place
    const at = arguments[0];
    Object.assign(state, { cursor: at ? [t, s] : null, pinned: pinned && !!at });
    made.forEach(panel => panel.follow?.());
  }

  // --- Lines from word to word. Only what is in sight is drawn, so a long text costs no more than a short one.

  function makeLines(panel) {
    const { queries, keys } = texts[panel.text], longest = Math.max(queries.length, keys.length), row = longest > 200 ? 18 : 24;
    const canvas = document.createElement("canvas"), sheet = element("div", "", canvas), box = element("div", "scroll", sheet);
    const full = longest * row + 16, edge = width => Math.max(Math.min(190, width * 0.3), (width - 520) / 2); // of the words
    let maps = [], strong = [], over = null;
    sheet.style.height = full + "px";
    canvas.tabIndex = 0; canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", `Lines of ${titleOf(panel)}`);

    function paint() {
      const width = box.clientWidth, height = Math.min(full, box.clientHeight), pen = sharp(canvas, width, height);
      const offset = box.scrollTop, pad = edge(width), y = i => 8 + (i + 0.5) * row - offset, seen = i => y(i) > -row && y(i) < height + row;
      const signed = maps[0]?.map.signed, hue = (head, weight) => signed ? ink(weight < 0 ? "less" : "more") : maps.length > 1 ? headColour(head) : ink("accent");
      const stroke = (t, s, weight, head, alpha) => {
        pen.strokeStyle = hue(head, weight); pen.globalAlpha = alpha; pen.lineWidth = 0.6 + 3.4 * Math.abs(weight);
        pen.beginPath(); pen.moveTo(pad + 6, y(t)); const third = (width - 2 * pad - 12) * 0.4;
        pen.bezierCurveTo(pad + 6 + third, y(t), width - pad - 6 - third, y(s), width - pad - 6, y(s)); pen.stroke();
      };
      const [side, at] = over ?? state.held ?? [], shown = new Map();
      if (side === undefined) {
        let left = 6000; // strokes in one drawing
        for (const { list, head } of strong) for (const [t, s, weight] of list)
          if ((seen(t) || seen(s)) && left-- > 0) stroke(t, s, weight, head, Math.min(1, 0.1 + 0.9 * Math.abs(weight)));
      } else for (const { map, head } of maps) for (let i = 0; i < (side === "query" ? map.columns : map.rows); i++) {
        const [t, s] = side === "query" ? [at, i] : [i, at], weight = map.weights[t * map.columns + s];
        if (Math.abs(weight) < 0.001) continue;
        stroke(t, s, weight, head, Math.min(1, 0.2 + 0.8 * Math.abs(weight)));
        if (Math.abs(weight) > Math.abs(shown.get(i)?.[0] ?? 0)) shown.set(i, [weight, head]);
      }
      pen.globalAlpha = 1;
      const room = Math.min(pad - 6, 190), column = (words, right) => {
        for (let i = Math.max(0, Math.floor((offset - 8) / row)); i < words.length && y(i) < height + row; i++) {
          const mine = side !== undefined && (side === "key") === right && at === i, other = side !== undefined && (side === "key") !== right ? shown.get(i) : null;
          if (mine || other) {
            pen.fillStyle = mine ? ink("accent-wash") : hue(other[1], other[0]);
            pen.globalAlpha = mine ? 1 : 0.06 + 0.5 * Math.min(1, Math.abs(other[0]));
            pen.beginPath(); pen.roundRect(right ? width - pad : pad - room, y(i) - row / 2 + 1, room, row - 2, 5); pen.fill(); pen.globalAlpha = 1;
          }
          pen.font = font(row > 20 ? 13.5 : 12, mine ? 650 : 400);
          const number = other && Math.abs(other[0]) >= 0.01 ? Math.abs(other[0]).toFixed(2) : "";
          drawWord(pen, words[i], right ? width - pad + 8 : pad - 8, y(i), { align: right ? "left" : "right", most: room - (number ? 48 : 12), strong: mine || !!other });
          if (number) { pen.font = font(11.5, 600); pen.fillStyle = ink("ink"); pen.textAlign = right ? "right" : "left"; pen.fillText(number, right ? width - pad + room - 6 : pad - room + 6, y(i)); }
        }
      };
      column(queries, false); column(keys, true);
    }

    const place = event => {
      const frame = canvas.getBoundingClientRect(), pad = edge(frame.width), x = event.clientX - frame.left;
      const i = Math.floor((event.clientY - frame.top + box.scrollTop - 8) / row), side = x < pad ? "query" : x > frame.width - pad ? "key" : null;
      return side && i >= 0 && i < (side === "query" ? queries : keys).length ? [side, i] : null;
    };
    canvas.onpointermove = event => { const at = place(event);
      if (String(at) !== String(over)) { over = at; paint(); if (over) tell(); } };
    canvas.onpointerleave = () => { over = null; paint(); };
    canvas.onclick = event => { const at = place(event); set({ held: at && String(at) !== String(state.held) ? at : null }); };
    box.onscroll = () => paint();

    function tell() { // the strongest of the lines at this word, for those who cannot see them
      let best = null;
      for (const { map, head } of maps) for (let i = 0; i < (over[0] === "query" ? map.columns : map.rows); i++) {
        const [t, s] = over[0] === "query" ? [over[1], i] : [i, over[1]], weight = map.weights[t * map.columns + s];
        if (!best || Math.abs(weight) > Math.abs(best[3])) best = [head, t, s, weight];
      }
      if (best) say(panel, state.layer, ...best);
    }
    const draw = async mine => {
      const drawn = [...state.drawn].sort((a, b) => a - b);
      const found = await Promise.all(drawn.map(async head => ({ head, map: await mapOf(panel, state.layer, head) })));
      if (mine !== generation) return;
      maps = found;
      const least = Math.max(LEAST[state.least], 0.002);
      strong = maps.map(({ map, head }) => { const list = [];
        map.weights.forEach((weight, i) => { if (Math.abs(weight) >= least) list.push([Math.floor(i / map.columns), i % map.columns, weight]); });
        return { head, list }; });
      canvas.dataset.drawn = `${panel.text} ${state.layer} ${drawn}`;
      paint();
    };
    return { box, draw, follow: paint };
  }

  // --- The frame around the stage.

  let made = [], shape = "", playing = 0;

  function legend(map) {
    const signed = state.mode === "difference", bar = $(".legend canvas"), pen = bar.getContext("2d");
    const values = Float32Array.from({ length: 256 }, (_, i) => { const share = signed ? i / 127.5 - 1 : i / 255;
      return state.curve === "root" ? Math.sign(share) * share * share : share; });
    pen.drawImage(picture({ values, rows: 1, columns: 256 }, 1, signed), 0, 0);
    const most = state.reach === "one" ? 1 : map?.peak, shares = signed ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.25, 0.5, 0.75, 1];
    $(".ticks").replaceChildren(...shares.map(x => {
      const share = signed ? 2 * x - 1 : x, value = state.curve === "root" ? Math.sign(share) * share * share : share;
      const tick = element("span", "", most === undefined ? (value === 0 ? "0" : Math.abs(value) === 1 ? (value < 0 ? "\u2212peak" : "peak") : Math.round(100 * value) + "%") : most > 0.2 ? String(+(value * most).toFixed(2)).replace("-", "\u2212") : written(value * most));
      tick.style.left = 100 * x + "%";
      return tick;
    }));
  }

  function controls() {
    const several = texts.length > 1, many = texts.length > 2, { view } = state;
    for (const tab of root.querySelectorAll("[data-view]")) tab.setAttribute("aria-selected", tab.dataset.view === view);
    const slide = (name, value, words) => { const box = $(name), input = box.querySelector("input");
      input.max = words.length - 1; input.value = value; box.querySelector("output").textContent = words[value]; box.hidden = words.length < 2; };
    slide(".layer", state.layer, layers);
    slide(".head", state.head, heads);
    if (view === "lines" || view === "heads") $(".head").hidden = true;
    slide(".least", state.least, LEAST.map(least => least || "all"));
    $(".least").hidden = view !== "lines";
    for (const name of [".legend", ".reach", ".curve"]) $(name).hidden = view === "lines";
    $(".texts").hidden = !several;
    slide(".moment", state.text, texts.map(text => text.title));
    $(".moment").hidden = !many; $(".which").hidden = many;
    $(".which select").value = state.text; $(".against select").value = state.against;
    $(".against").hidden = state.mode === "alone" || !many;
    for (const button of root.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", button.dataset.mode === state.mode);
      if (button.dataset.mode === "difference") { button.disabled = !sameWords(state.text, state.against);
        button.title = button.disabled ? "these texts differ in length" : ""; }
    }
    $(".play").textContent = playing ? "\u2016" : "\u25b6";
    $(".stepping").hidden = !several; $(".opening").hidden = view !== "heads" && view !== "model"; $(".walking").hidden = view !== "map";
    const text = texts[state.text], size = text.queries.length === text.keys.length ? text.queries.length : `${text.queries.length} \u00d7 ${text.keys.length}`;
    $(".about").textContent = [`${layers.length} layer${layers.length > 1 ? "s" : ""} \u00d7 ${count} head${count > 1 ? "s" : ""}`, `${size} words`,
      { encoder: "encoder", decoder: "decoder", cross: "cross attention" }[text.kind], ...(several ? [] : [text.title].filter(title => title && title !== data.title))].join(" \u00b7 ");
    const chips = $(".chips");
    if (view !== "lines") chips.replaceChildren();
    else if (chips.dataset.drawn !== `${[...state.drawn]} ${theme()}` || !chips.firstChild) {
      const focused = root.activeElement?.dataset?.chip;
      chips.dataset.drawn = `${[...state.drawn]} ${theme()}`;
      const all = element("button", "all", state.drawn.size === count ? "one head" : "all heads");
      all.type = "button"; all.dataset.chip = "all";
      all.onclick = () => set({ drawn: state.drawn.size === count ? new Set([state.head]) : new Set(heads.keys()) });
      chips.replaceChildren(all, ...heads.keys().map(head => {
        const chip = element("button", "", element("i"), String(heads[head]));
        chip.type = "button"; chip.dataset.chip = head;
        chip.style.setProperty("--c", state.drawn.size > 1 ? headColour(head) : ink("accent"));
        chip.setAttribute("aria-pressed", state.drawn.has(head)); chip.setAttribute("aria-label", `head ${heads[head]}`);
        chip.onclick = event => { const drawn = new Set(event.altKey ? [] : state.drawn);
          if (!drawn.delete(head)) drawn.add(head);
          if (drawn.size) set({ drawn, head: drawn.has(head) ? head : state.head }); };
        return chip;
      }));
      if (focused !== undefined) chips.querySelector(`[data-chip="${focused}"]`)?.focus();
    }
  }

  async function draw() {
    const mine = ++generation, shown = panels(), now = JSON.stringify([state.view, shown]);
    controls();
    if (now !== shape) {
      const focused = stage.contains(root.activeElement);
      shape = now;
      made = shown.map(panel => ({ heads: () => makeGrid(panel, false), model: () => makeGrid(panel, true), map: () => makeMap(panel), lines: () => makeLines(panel) })[state.view]());
      stage.classList.toggle("two", shown.length > 1);
      stage.replaceChildren(...made.map(({ box }, i) => { const part = element("section", "panel");
        if (texts.length > 1) part.append(element("h3", "", titleOf(shown[i])));
        part.append(box); return part; }));
      if (focused) refocus();
    }
    if (state.view !== "map") legend();
    try { for (const panel of made) await panel.draw(mine); }
    catch (error) { if (mine === generation) stage.replaceChildren(element("p", "", `These maps cannot be drawn here: ${error.message}`)); throw error; }
    if (mine === generation) { host.dataset.drawn = `${state.view} ${state.text} ${state.layer} ${state.head}`; host.dataset.milliseconds ??= Math.round(performance.now()); }
  }

  function set(change) {
    if ("text" in change || "against" in change || "mode" in change) {
      const next = { ...state, ...change };
      if (next.mode === "difference" && !sameWords(next.text, next.against)) change.mode = "beside";
      if (!sameWords(next.text, state.text)) Object.assign(change, { cursor: null, pinned: false, part: null, held: null });
    }
    if ("text" in change && change.text === state.against && texts.length === 2) change.against = state.text;
    if ("head" in change && !("drawn" in change) && state.drawn.size === 1) change.drawn = new Set([change.head]);
    Object.assign(state, change);
    hideTip();
    return draw();
  }
  const refocus = () => (stage.querySelector(".cell.chosen, .cell[tabindex='0']") ?? stage.querySelector("canvas[tabindex]"))?.focus({ preventScroll: true });

  function press(event) {
    const { key } = event, from = event.composedPath()[0], typing = from.matches?.("input, select");
    if (event.ctrlKey || event.metaKey || event.altKey || typing && key !== "Escape") return;
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
    const within = (value, n) => Math.min(Math.max(value, 0), n - 1);
    if (move && from.matches?.("[role=tab]") && move[1]) {
      const tabs = [...root.querySelectorAll("[role=tab]")], next = tabs[within(tabs.indexOf(from) + move[1], tabs.length)];
      next.focus(); next.click();
    } else if (move && event.shiftKey && state.view === "map") {
      const [t, s] = state.cursor ?? [0, 0], text = texts[panels()[0].text], [top, bottom, left, right] = state.part ?? [0, text.queries.length, 0, text.keys.length];
      const at = [Math.min(Math.max(t + move[0], top), bottom - 1), Math.min(Math.max(s + move[1], left), right - 1)];
      point(at, true);
      say(panels()[0], state.layer, state.head, ...at, made[0].value(...at) ?? 0);
    } else if (move && !event.shiftKey) {
      const inside = stage.contains(root.activeElement);
      set({ layer: within(state.layer + move[0], layers.length), head: within(state.head + move[1], count) });
      if (inside && (state.view === "heads" || state.view === "model")) queueMicrotask(refocus);
    } else if (key === "," || key === ".") {
      if (texts.length > 1) set({ text: within(state.text + (key === "," ? -1 : 1), texts.length) });
    } else if (key === "Escape" && (state.part || state.held)) set({ part: null, held: null });
    else if (key === "Escape" && state.pinned) point(null);
    else if (key === "Escape" && state.view === "map") set({ view: state.from, cursor: null }).then(refocus);
    else return;
    event.preventDefault(); event.stopPropagation();
  }

  function play() {
    clearInterval(playing);
    if (playing) { playing = 0; controls(); return; }
    if (state.text === texts.length - 1) set({ text: 0 });
    playing = setInterval(() => { if (state.text + 1 >= texts.length) { clearInterval(playing); playing = 0; controls(); } else set({ text: state.text + 1 }); }, 600);
    controls();
  }

  function paintTheme(chosen) {
    host.dataset.theme = chosen;
    if ("page" in host.dataset) document.documentElement.style.colorScheme = chosen;
  }
  function preferred() { // a notebook's theme, where there is one around, else the system's
    try { for (const frame of [window, window.parent]) {
      const { body } = frame.document;
      if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
      if (body.dataset.vscodeThemeKind) return /dark/.test(body.dataset.vscodeThemeKind) ? "dark" : "light";
    } } catch { /* a frame that may not be looked into */ }
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  $(".title").textContent = data.title;
  $(".kept").textContent = `Weights as drawn are within ${data.error} of those computed.`;
  for (const select of root.querySelectorAll(".which select, .against select")) select.append(...texts.map((text, i) => new Option(text.title, i)));
  for (const tab of root.querySelectorAll("[data-view]")) tab.onclick = () => set({ view: tab.dataset.view, from: state.view === "map" ? state.from : state.view, cursor: null, pinned: false, part: null });
  for (const button of root.querySelectorAll("[data-mode]")) button.onclick = () => set({ mode: button.dataset.mode });
  const listen = (selector, kind, change) => $(selector).addEventListener(kind, event => set(change(event.target.value)));
  listen(".layer input", "input", value => ({ layer: +value }));
  listen(".head input", "input", value => ({ head: +value }));
  listen(".moment input", "input", value => ({ text: +value }));
  listen(".which select", "change", value => ({ text: +value }));
  listen(".against select", "change", value => ({ against: +value }));
  listen(".reach select", "change", value => ({ reach: value }));
  listen(".curve select", "change", value => ({ curve: value }));
  listen(".least input", "input", value => ({ least: +value }));
  $(".play").onclick = play;
  $(".theme").onclick = () => { paintTheme(theme() === "dark" ? "light" : "dark"); draw(); };
  ("page" in host.dataset ? document : host).addEventListener("keydown", press);
  paintTheme(preferred());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paintTheme(preferred()); draw(); });
  let width = 0; // only a change of width draws anew, so that a frame which grows with its content comes to rest
  new ResizeObserver(() => { if (stage.clientWidth !== width) { width = stage.clientWidth; if (width) draw(); } }).observe(stage);
})
