// The heads of a layer, and all layers by heads: a button with a small map for each.

function evenly(width) { // the number of columns, between 120 and 210 pixels each, that leaves the last row least empty
  const most = Math.max(2, Math.floor(width / 120)), least = Math.max(2, Math.ceil(width / 210)), count = heads.length;
  if (count <= most) return Math.max(count, least);
  const empty = n => (n - count % n) % n;
  let best = most;
  for (let n = most; n >= least; n--) if (empty(n) < empty(best)) best = n;
  return best;
}

function makeGrid(panel, whole) {
  const box = element("div", whole ? "model" : "grid"), cells = [];
  if (whole) {
    box.style.gridTemplateColumns = `max-content repeat(${heads.length}, minmax(0, 1fr))`;
    box.append(element("span", "side", ""), ...heads.map(head => element("span", "side", head)));
  }
  for (const layer of whole ? layers.keys() : [null]) {
    if (whole) box.append(element("span", "side row", (layer === 0 ? "layer " : "") + layers[layer]));
    for (const head of heads.keys()) {
      const at = () => layer ?? state.layer;
      const cell = button("cell", element("canvas"), () => open(at(), head));
      if (!whole) cell.append(element("span", "name", element("b", "", `head ${heads[head]}`), element("span", "peak")));
      cell.onpointermove = event => readCell(event, cell, panel, at(), head);
      cell.onpointerleave = hideTip;
      box.append(cell);
      cells.push({ cell, at, head });
    }
  }
  const open = (layer, head) => set({ ...leave(), view: "map", layer, head });
  async function draw(mine) {
    if (!whole) box.style.gridTemplateColumns = `repeat(${evenly(box.clientWidth)}, minmax(0, 1fr))`;
    for (const { cell, at, head } of cells) {
      const chosen = at() === state.layer && head === state.head;
      cell.tabIndex = chosen ? 0 : -1; // one stop for the tab key; arrows go from cell to cell
      cell.classList.toggle("chosen", chosen);
      cell.setAttribute("aria-label", placeOf(at(), head));
    }
    const look = ({ cell, at }) => [at(), cell.clientWidth, host.dataset.theme, state.reach, state.curve].join();
    const stale = cells.filter(one => one.cell.dataset.look !== look(one));
    for (let i = 0; i < stale.length && mine === generation; i++) {
      for (const { at, head } of stale.slice(i, i + 5)) mapOf(panel, at(), head); // a few are unpacked ahead
      await drawCell(stale[i].cell, panel, stale[i].at(), stale[i].head, mine);
      if (mine === generation) stale[i].cell.dataset.look = look(stale[i]);
    }
  }
  return { box, draw };
}

async function drawCell(cell, panel, layer, head, mine) {
  const map = await mapOf(panel, layer, head), reach = await reachOf(layer, head);
  if (mine !== generation) return;
  const canvas = cell.querySelector("canvas"), most = (cell.clientWidth || 120) * Math.min(devicePixelRatio || 1, 2);
  const pooled = pool(map, most, most);
  canvas.width = pooled.columns;
  canvas.height = pooled.rows;
  canvas.classList.toggle("enlarged", pooled.columns < most);
  canvas.style.aspectRatio = Math.max(0.4, Math.min(2.5, map.columns / map.rows));
  canvas.getContext("2d").drawImage(picture(pooled, reach, map.signed), 0, 0);
  const peak = cell.querySelector(".peak");
  if (peak) peak.replaceChildren(element("i", "", map.signed ? "\u00b1" : "peak "), written(map.peak));
}

async function readCell(event, cell, panel, layer, head) {
  const box = cell.querySelector("canvas").getBoundingClientRect(), map = await mapOf(panel, layer, head);
  const under = (at, length, count) => { // the words under the pointer: one, or those that share its pixel
    const wide = Math.max(1, count / length), share = Math.min(Math.max(at / length, 0), 0.9999);
    const first = Math.floor(share * count / wide) * wide;
    return [Math.floor(first), Math.min(count, Math.ceil(first + wide))];
  };
  const [top, bottom] = under(event.clientY - box.top, box.height, map.rows);
  const [left, right] = under(event.clientX - box.left, box.width, map.columns);
  let best = [top, left], weight = 0;
  for (let t = top; t < bottom; t++) for (let s = left; s < right; s++) {
    const here = map.weights[t * map.columns + s];
    if (Math.abs(here) > Math.abs(weight)) [best, weight] = [[t, s], here];
  }
  showTip(event, panel, layer, head, best, weight, placeOf(layer, head));
}
