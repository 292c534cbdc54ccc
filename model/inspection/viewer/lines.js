// Lines from word to word. Only what is in sight is drawn, so that a long text costs no more than a short one.

const LEAST = [0, 0.01, 0.02, 0.05, 0.1, 0.2]; // the choices of the weakest line; at a word also those a fifth of it
const MOST_LINES = 6000; // in one drawing
const headColour = head => `oklch(${ink.tone} 0.16 ${(255 + 360 * head / heads.length) % 360})`;

function makeLines(panel) {
  const { queries, keys } = texts[panel.text], longest = Math.max(queries.length, keys.length);
  const row = longest > 200 ? 18 : 24, full = longest * row + 16;
  const canvas = element("canvas"), sheet = element("div", "", canvas), box = element("div", "scroll", sheet);
  let maps = [], strong = [], over = null; // a map for each head drawn; its strong lines; [side, word] under the pointer
  sheet.style.height = full + "px";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Lines of ${titleOf(panel)}`);

  const edge = width => Math.max(Math.min(190, width * 0.3), (width - 520) / 2); // where the column of words ends
  const cells = ([side, at], map) => Array.from({ length: side === "query" ? map.columns : map.rows },
    (_, i) => side === "query" ? [at, i] : [i, at]);
  const hue = (head, weight) => maps[0].map.signed ? (weight < 0 ? ink.less : ink.more)
    : maps.length > 1 ? headColour(head) : ink.accent;
  const chosen = () => {
    const [side, at] = over ?? state.held ?? [];
    return side && at < (side === "query" ? queries : keys).length ? [side, at] : null;
  };

  function paint() {
    const width = box.clientWidth, height = Math.min(full, box.clientHeight), offset = box.scrollTop, pad = edge(width);
    const pen = sharp(canvas, width, height), at = chosen(), reached = new Map(), third = (width - 2 * pad - 12) * 0.4;
    const y = i => 8 + (i + 0.5) * row - offset, seen = i => y(i) > -row && y(i) < height + row;
    const stroke = ([t, s], weight, head, faintest) => {
      pen.strokeStyle = hue(head, weight);
      pen.globalAlpha = Math.min(1, faintest + (1 - faintest) * Math.abs(weight));
      pen.lineWidth = 0.6 + 3.4 * Math.abs(weight);
      pen.beginPath();
      pen.moveTo(pad + 6, y(t));
      pen.bezierCurveTo(pad + 6 + third, y(t), width - pad - 6 - third, y(s), width - pad - 6, y(s));
      pen.stroke();
    };
    if (at) {
      const all = maps.flatMap(({ map, head }) => cells(at, map)
        .map(([t, s]) => [[t, s], map.weights[t * map.columns + s], head]));
      const least = Math.max(LEAST[state.least] / 5, 0.001), enough = all.filter(([, weight]) => Math.abs(weight) >= least);
      for (const line of enough.sort((a, b) => Math.abs(a[1]) - Math.abs(b[1]))) {
        const end = line[0][at[0] === "query" ? 1 : 0];
        stroke(...line, 0.18);
        reached.delete(end);
        reached.set(end, line); // of each word the strongest, and the strongest of all comes last
      }
    } else {
      let left = MOST_LINES;
      for (const [[t, s], weight, head] of strong)
        if (left && (seen(t) || seen(s)) && left--) stroke([t, s], weight, head, 0.1);
    }
    pen.globalAlpha = 1;
    for (const right of [false, true]) column(pen, right, { width, height, offset, pad, y, at, reached });
    if (reached.size) beyond(pen, [...reached].at(-1), at[0] === "query", { width, height, pad, seen, y });
  }

  function column(pen, right, { width, height, offset, pad, y, at, reached }) {
    const words = right ? keys : queries, room = Math.min(pad - 6, 190), here = at && (at[0] === "key") === right;
    for (let i = Math.max(0, Math.floor((offset - 8) / row)); i < words.length && y(i) < height + row; i++) {
      const mine = here && at[1] === i, line = at && !here ? reached.get(i) : null;
      if (mine || line) {
        pen.fillStyle = mine ? ink["accent-wash"] : hue(line[2], line[1]);
        pen.globalAlpha = mine ? 1 : 0.06 + 0.5 * Math.min(1, Math.abs(line[1]));
        pen.beginPath();
        pen.roundRect(right ? width - pad : pad - room, y(i) - row / 2 + 1, room, row - 2, 5);
        pen.fill();
        pen.globalAlpha = 1;
      }
      const number = line && Math.abs(line[1]) >= 0.005 ? written(line[1]).replace(/(\.\d\d)\d+$/, "$1") : "";
      pen.font = font(row > 20 ? 13.5 : 12, mine ? 650 : 400);
      const most = room - (number ? 50 : 12), strong = mine || !!line;
      drawWord(pen, words[i], right ? width - pad + 8 : pad - 8, y(i), { align: right ? "left" : "right", most, strong });
      if (!number) continue;
      pen.font = font(11.5, 600);
      pen.fillStyle = ink.ink;
      pen.textAlign = right ? "right" : "left";
      pen.fillText(number, right ? width - pad + room - 6 : pad - room + 6, y(i));
    }
  }

  function beyond(pen, [i, [, weight, head]], right, { width, height, pad, seen, y }) { // the strongest line leaves the picture
    if (seen(i)) return;
    const up = y(i) < 0, middle = up ? 15 : height - 15, x = right ? width - pad - 2 : 12, word = (right ? keys : queries)[i];
    pen.fillStyle = ink.card;
    pen.strokeStyle = hue(head, weight);
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.roundRect(x, middle - 11, Math.min(pad - 8, 180), 22, 11);
    pen.fill();
    pen.stroke();
    pen.font = font(12, 600);
    drawWord(pen, word, x + 10, middle, { most: 150, strong: true, before: `${up ? "\u2191" : "\u2193"} ${written(weight)}` });
  }

  function under(event) { // the word under the pointer, as [side, number]
    const frame = canvas.getBoundingClientRect(), pad = edge(frame.width), x = event.clientX - frame.left;
    const i = Math.floor((event.clientY - frame.top + box.scrollTop - 8) / row);
    const side = x < pad ? "query" : x > frame.width - pad ? "key" : null;
    return side && i >= 0 && i < (side === "query" ? queries : keys).length ? [side, i] : null;
  }
  canvas.onpointermove = event => {
    const at = under(event);
    if (String(at) === String(over)) return;
    over = at;
    paint();
    if (over) tell();
  };
  canvas.onpointerleave = () => { over = null; paint(); };
  canvas.onclick = event => { const at = under(event); set({ held: at && String(at) !== String(state.held) ? at : null }); };
  box.onscroll = paint;

  function tell() { // the strongest of the lines at this word
    let best = null, most = -1;
    for (const { map, head } of maps) for (const cell of cells(over, map)) {
      const weight = map.weights[cell[0] * map.columns + cell[1]];
      if (Math.abs(weight) > most) [best, most] = [[head, cell, weight], Math.abs(weight)];
    }
    if (best) say(panel, state.layer, ...best);
  }

  async function draw(mine) {
    const drawn = [...state.drawn].sort((a, b) => a - b);
    const found = await Promise.all(drawn.map(async head => ({ head, map: await mapOf(panel, state.layer, head) })));
    if (mine !== generation) return;
    maps = found;
    strong = [];
    const least = Math.max(LEAST[state.least], 0.002);
    for (const { map, head } of maps) map.weights.forEach((weight, i) => {
      if (Math.abs(weight) >= least) strong.push([[Math.floor(i / map.columns), i % map.columns], weight, head]);
    });
    strong.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])); // where there are too many, the strongest are drawn
    paint();
  }
  return { box, draw, follow: paint };
}
