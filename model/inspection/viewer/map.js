// One map with its words on both axes, read by pointer or keys; dragging over it zooms.

function makeMap(panel) {
  const canvas = element("canvas"), reading = element("div", "reading"), { queries, keys } = texts[panel.text];
  const whole = button("whole", "Whole map", () => set({ part: null })), holder = element("div", "", whole, canvas);
  const box = element("div", "open", holder, reading);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  let map, frame, base, dragged = null;

  function layOut() { // where the cells lie: as large as there is room for
    const [top, bottom, left, right] = state.part ?? [0, map.rows, 0, map.columns];
    const rows = bottom - top, columns = right - left, width = holder.clientWidth, pen = canvas.getContext("2d");
    pen.font = font(12);
    const longest = words => Math.max(...words.map(word => pen.measureText(word).width), 20);
    const room = (words, n) => Math.ceil(Math.min(width < 420 ? 74 : 118, longest(words)) + (n > width / 6 ? 12 + 6 * String(n).length : 0)) + 16;
    const side = room(queries.slice(top, bottom), rows), over = room(keys.slice(left, right), columns);
    const fit = free => Math.min(free / columns, rows <= 12 ? 44 : 30, Math.max(1100 / rows, 1));
    const slanted = fit(width - side - 4 - 0.72 * over) >= 17, cell = fit(width - side - 4 - (slanted ? 0.72 * over : 0));
    const head = slanted ? Math.ceil(0.75 * over) : over;
    return { top, left, rows, columns, side, head, over, slanted, cell,
      width: side + cell * columns + (slanted ? 0.72 * over : 4), height: cell * rows };
  }

  function paint() {
    const { top, left, rows, columns, side, head, cell, width, height } = frame, pen = sharp(canvas, width, head + height + 1);
    const [t, s] = state.cursor ?? [], hit = t >= top && t < top + rows && s >= left && s < left + columns;
    pen.imageSmoothingEnabled = base.width > columns * cell * 1.01;
    pen.drawImage(base, side, head, cell * columns, height);
    if (cell >= 9) {
      pen.strokeStyle = ink.card;
      pen.globalAlpha = 0.7;
      pen.beginPath();
      for (let i = 1; i < columns; i++) { pen.moveTo(side + i * cell, head); pen.lineTo(side + i * cell, head + height); }
      for (let i = 1; i < rows; i++) { pen.moveTo(side, head + i * cell); pen.lineTo(side + columns * cell, head + i * cell); }
      pen.stroke();
      pen.globalAlpha = 1;
    }
    pen.strokeStyle = ink.rule;
    pen.strokeRect(side - 0.5, head - 0.5, cell * columns + 1, height + 1);
    axis(pen, queries, top, rows, true, hit ? t : undefined);
    axis(pen, keys, left, columns, false, hit ? s : undefined);
    if (hit) {
      const x = side + (s - left) * cell, y = head + (t - top) * cell;
      pen.strokeStyle = ink.ink;
      pen.globalAlpha = 0.34;
      pen.strokeRect(side, y, cell * columns, cell);
      pen.strokeRect(x, head, cell, height);
      pen.globalAlpha = 1;
      pen.lineWidth = 2;
      pen.strokeRect(x - 1, y - 1, Math.max(cell, 3) + 2, Math.max(cell, 3) + 2);
    }
    if (dragged?.to) {
      const [t0, t1, s0, s1] = corners(dragged.from, dragged.to);
      const area = [side + (s0 - left) * cell, head + (t0 - top) * cell, (s1 - s0) * cell, (t1 - t0) * cell];
      pen.fillStyle = pen.strokeStyle = ink.accent;
      pen.strokeRect(...area);
      pen.globalAlpha = 0.12;
      pen.fillRect(...area);
    }
  }

  // Words that would overlap are thinned out, and those left are numbered; the chosen one is always there.
  function axis(pen, words, from, count, along, chosen) {
    const { cell } = frame, near = Math.ceil(13 / cell), need = cell < 9.5 ? 13 : 9.5;
    const thin = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find(n => n * cell >= need) ?? 2000;
    for (let i = Math.ceil(from / thin) * thin; i < from + count; i += thin)
      if (!(i !== chosen && Math.abs(i - chosen) < near)) label(pen, words[i], i, along, i === chosen, thin);
    if (chosen !== undefined && chosen % thin) label(pen, words[chosen], chosen, along, true, thin);
  }

  function label(pen, word, i, along, strong, thin) {
    const { top, left, side, head, over, slanted, cell } = frame, before = thin > 4 ? String(i) : "";
    pen.save();
    pen.font = font(cell < 12.5 && thin === 1 ? Math.max(9, cell - 1) : 12, strong ? 650 : 400);
    if (along) drawWord(pen, word, side - 7, head + (i - top + 0.5) * cell, { strong, before, align: "right", most: side - 12 });
    else {
      pen.translate(side + (i - left + 0.5) * cell, head - 6);
      pen.rotate(slanted ? -Math.PI / 4 : -Math.PI / 2);
      drawWord(pen, word, slanted ? 2 : 0, 0, { strong, before, most: over - 12 });
    }
    pen.restore();
  }

  function read() { // the chosen weight, and where else this word looks
    const [t, s] = state.cursor ?? [];
    if (!(t < map.rows && s < map.columns)) {
      const how = "A row shows where a word looks. Point at a weight to read it; a click holds it.";
      return reading.replaceChildren(element("h4", "", placeOf(state.layer, state.head)), element("p", "", how));
    }
    const row = map.weights.subarray(t * map.columns, (t + 1) * map.columns);
    const most = Math.max(map.signed ? map.peak : Math.max(...row), 1e-12);
    const order = [...row.keys()].filter(key => row[key]).sort((a, b) => Math.abs(row[b]) - Math.abs(row[a])).slice(0, 8);
    if (!order.includes(s)) order.push(s);
    const lines = order.map(key => {
      const bar = element("i", row[key] < 0 ? "less" : ""), word = wordNode(keys[key]);
      bar.style.width = 100 * Math.min(1, Math.abs(row[key]) / most) + "%";
      return element("li", key === s ? "now" : "", word, element("span", "track", bar), element("b", "", written(row[key])));
    });
    reading.replaceChildren(element("h4", "", wordNode(queries[t]), " \u2192 ", wordNode(keys[s])),
      element("p", "", `word ${t} \u2192 word ${s}`), element("div", "big", written(row[s])), element("ol", "", ...lines));
  }

  const corners = ([t, s], [u, v]) => [Math.min(t, u), Math.max(t, u) + 1, Math.min(s, v), Math.max(s, v) + 1];
  function under(event) { // the cell under the pointer
    const box = canvas.getBoundingClientRect(), { top, left, rows, columns, side, head, cell } = frame;
    const t = Math.floor((event.clientY - box.top - head) / cell), s = Math.floor((event.clientX - box.left - side) / cell);
    return t >= 0 && t < rows && s >= 0 && s < columns ? [top + t, left + s] : null;
  }
  canvas.onpointermove = event => {
    const at = frame && under(event);
    if (dragged && at && (dragged.to || Math.hypot(event.clientX - dragged.x, event.clientY - dragged.y) > 6)) {
      dragged.to = at;
      hideTip();
      paint();
    } else if (at && !dragged) {
      if (!state.pinned) point(at);
      showTip(event, panel, state.layer, state.head, at, map.weights[at[0] * map.columns + at[1]]);
    } else hideTip();
  };
  canvas.onpointerleave = () => {
    hideTip();
    if (!state.pinned && !dragged) point(null);
  };
  canvas.onpointerdown = event => {
    const at = frame && under(event);
    if (at && event.pointerType === "mouse") {
      dragged = { from: at, to: null, x: event.clientX, y: event.clientY };
      canvas.setPointerCapture(event.pointerId);
    } else if (at) point(at, true);
  };
  canvas.onpointerup = () => {
    const { from, to } = dragged ?? {};
    dragged = null;
    if (to && String(to) !== String(from)) set({ part: corners(from, to) });
    else if (from) point(from, !state.pinned || String(from) !== String(state.cursor));
  };

  async function draw(mine) {
    const { layer, head, part } = state, scale = devicePixelRatio || 1, reach = await reachOf(layer, head);
    map = await mapOf(panel, layer, head);
    if (mine !== generation) return;
    whole.hidden = !state.part;
    frame = layOut();
    base = picture(pool(map, frame.height * scale, frame.columns * frame.cell * scale, part ?? undefined), reach, map.signed);
    canvas.setAttribute("aria-label", `Attention of ${placeOf(layer, head)}, ${titleOf(panel)}; shift and arrows read it`);
    canvas.dataset.frame = [frame.side, frame.head, frame.cell, frame.top, frame.left].join(" "); // where the cells lie
    paint();
    read();
    legend(reach);
  }
  const follow = () => { if (frame) { paint(); read(); } };
  return { box, draw, follow, value: ([t, s]) => map?.weights[t * map.columns + s] ?? 0 };
}

function point(cell, pinned = false) { // all panels follow the same place
  Object.assign(state, { cursor: cell, pinned: pinned && cell !== null });
  for (const panel of made) panel.follow?.();
}
