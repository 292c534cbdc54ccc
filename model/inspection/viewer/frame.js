// What is around the maps: controls, keys, theme; and the one place where all is drawn.

let made = [], shape = "", playing = 0; // the panels on the page, what they are of, the timer of `play`
const stage = $(".stage"), MAKERS = { heads: makeGrid, map: makeMap, lines: makeLines, model: panel => makeGrid(panel, true) };
const KINDS = { encoder: "encoder", decoder: "decoder", cross: "cross attention" };
const sameWords = (a, b) => ["queries", "keys"].every(side => texts[a][side].length === texts[b][side].length);
const other = ({ text, against }) => many ? against : texts.length - 1 - text; // what a text is compared with

function panels() { // of two texts the first is to the left, and is what is taken away; of many it is the one compared with
  const [first, second] = many ? [state.against, state.text] : [0, texts.length - 1];
  if (state.mode === "alone") return [{ text: state.text }];
  return state.mode === "beside" ? [{ text: first }, { text: second }] : [{ text: second, minus: first }];
}

function legend(most = state.reach === "one" ? 1 : undefined) { // of one map, or of maps that differ in what is most
  const signed = state.mode === "difference", shares = signed ? [-1, 0, 1] : [0, 0.25, 0.5, 0.75, 1];
  const values = Float32Array.from({ length: 256 }, (_, i) => uncurve(signed ? i / 127.5 - 1 : i / 255));
  $(".legend canvas").getContext("2d").drawImage(picture({ values, rows: 1, columns: 256 }, 1, signed), 0, 0);
  const share = value => ({ "-1": "\u2212peak", 0: "0", 1: "peak" })[value] ?? Math.round(100 * value) + "%";
  const number = value => most > 0.2 ? String(+value.toFixed(2)).replace("-", "\u2212") : written(value);
  $(".ticks").replaceChildren(...shares.map(at => {
    const tick = element("span", "", most === undefined ? share(uncurve(at)) : number(most * uncurve(at)));
    tick.style.left = 100 * (signed ? (at + 1) / 2 : at) + "%";
    return tick;
  }));
}

function controls() { // every control shows what is chosen; what has no meaning here is away
  const { view, mode } = state, text = texts[state.text], { length: T } = text.queries, { length: S } = text.keys;
  const counted = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`, show = (selector, shown) => { $(selector).hidden = !shown; };
  const slide = (name, value, words, shown = true) => {
    const input = $(name + " input");
    input.max = words.length - 1;
    input.value = value;
    input.setAttribute("aria-valuetext", words[value]);
    $(name + " output").textContent = words[value];
    show(name, shown && words.length > 1);
  };
  for (const tab of root.querySelectorAll("[data-view]")) tab.setAttribute("aria-selected", tab.dataset.view === view);
  slide(".layer", state.layer, layers, view !== "model");
  slide(".head", state.head, heads, view === "map");
  slide(".least", state.least, LEAST.map(least => least || "all"), view === "lines");
  slide(".moment", state.text, texts.map(text => text.title), many);
  for (const name of [".legend", ".reach", ".curve"]) show(name, view !== "lines");
  show(".texts", several);
  show(".which", several && !many && mode === "alone");
  show(".against", many && mode !== "alone");
  $(".against span").textContent = mode === "difference" ? "minus" : "with";
  $(".which select").value = state.text;
  $(".against select").value = state.against;
  for (const choice of root.querySelectorAll("[data-mode]")) {
    choice.setAttribute("aria-pressed", choice.dataset.mode === mode);
    if (choice.dataset.mode !== "difference") continue;
    choice.disabled = !sameWords(state.text, other(state));
    choice.title = choice.disabled ? "These texts differ in length" : "";
  }
  $(".play").textContent = playing ? "\u2016" : "\u25b6";
  show(".stepping", several);
  show(".opening", view === "heads" || view === "model");
  show(".walking", view === "map");
  show(".pointing", view === "lines");
  $(".about").textContent = [`${counted(layers.length, "layer")} \u00d7 ${counted(heads.length, "head")}`,
    S === T ? counted(T, "word") : `${T} \u00d7 ${S} words`, KINDS[text.kind],
    ...(several || text.title === data.title ? [] : [text.title])].filter(part => part).join(" \u00b7 ");
  const error = String(+((mode === "difference" ? 2 : 1) * data.error).toFixed(4));
  const what = mode === "difference" ? "Differences" : "Weights";
  $(".kept").textContent = `${what} as shown are within ${error} of those computed.`;
  chips();
}

function chips() { // a toggle for each head whose lines may be drawn
  const box = $(".chips"), { drawn, view } = state, every = drawn.size === heads.length;
  const focused = root.activeElement?.dataset.chip;
  if (view !== "lines") return box.replaceChildren();
  const all = button("all", every ? "one head" : "all heads", () => set({ drawn: new Set(every ? [state.head] : heads.keys()) }));
  box.replaceChildren(all, ...[...heads.keys()].map(head => {
    const chip = button("", element("i"), () => {
      const next = new Set(drawn);
      if (!next.delete(head)) next.add(head);
      if (next.size) set({ drawn: next, head: next.has(state.head) ? state.head : [...next][0] });
    });
    chip.append(heads[head]);
    chip.style.setProperty("--c", drawn.size > 1 ? headColour(head) : ink.accent);
    chip.setAttribute("aria-pressed", drawn.has(head));
    chip.setAttribute("aria-label", `head ${heads[head]}`);
    return chip;
  }));
  [...box.children].forEach((chip, i) => { chip.dataset.chip = i; });
  box.querySelector(`[data-chip="${focused}"]`)?.focus();
}

async function draw() {
  const mine = ++generation, shown = panels(), now = JSON.stringify([state.view, shown]);
  controls();
  if (now !== shape) { // other panels than before
    const focused = stage.contains(root.activeElement);
    shape = now;
    made = shown.map(panel => MAKERS[state.view](panel));
    stage.classList.toggle("two", shown.length > 1);
    const named = (panel, box) => several ? [element("h3", "", titleOf(panel)), box] : [box];
    stage.replaceChildren(...made.map(({ box }, i) => element("section", "panel", ...named(shown[i], box))));
    if (focused) refocus();
  }
  if (state.view !== "map") legend();
  try {
    for (const panel of made) await panel.draw(mine);
  } catch (error) {
    if (mine === generation) stage.replaceChildren(element("p", "", `These maps cannot be drawn here: ${error.message}.`));
    throw error;
  }
  if (mine === generation) host.dataset.drawn = `${state.view} ${state.text} ${state.layer} ${state.head}`;
}

function set(change) {
  const next = { ...state, ...change };
  if (next.mode === "difference" && !sameWords(next.text, other(next))) next.mode = "beside";
  const released = { cursor: null, pinned: false, part: null, held: null };
  if (!sameWords(next.text, state.text)) Object.assign(next, released);
  if (next.head !== state.head && next.drawn === state.drawn && next.drawn.size === 1) next.drawn = new Set([next.head]);
  Object.assign(state, next);
  hideTip();
  return draw();
}

const leave = () => ({ from: state.view === "map" ? state.from : state.view, cursor: null, pinned: false, part: null });
const refocus = () => {
  const cell = stage.querySelector(".cell.chosen") ?? stage.querySelector("canvas[tabindex]");
  cell?.focus({ preventScroll: true });
};

function press(event) { // keys; what has no effect is left to the page, so that arrows scroll past the last layer
  const { key } = event, from = event.composedPath()[0], typing = from.matches?.("input, select") && key !== "Escape";
  if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
  const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
  const within = (value, count, first = 0) => Math.min(Math.max(value, first), count - 1);
  if (move?.[1] && from.matches?.("[role=tab]")) {
    const tabs = [...root.querySelectorAll("[role=tab]")], next = tabs[within(tabs.indexOf(from) + move[1], tabs.length)];
    next.focus();
    next.click();
  } else if (move && event.shiftKey) {
    if (state.view !== "map") return;
    const [panel] = panels(), { queries, keys } = texts[panel.text];
    const [top, bottom, left, right] = state.part ?? [0, queries.length, 0, keys.length];
    const [t, s] = state.cursor ?? [top - move[0], left - move[1]];
    const cell = [within(t + move[0], bottom, top), within(s + move[1], right, left)];
    point(cell, true);
    say(panel, state.layer, state.head, cell, made[0].value(cell));
  } else if (move) {
    const layer = within(state.layer + move[0], layers.length), head = within(state.head + move[1], heads.length);
    if (layer === state.layer && head === state.head) return;
    const inside = stage.contains(root.activeElement);
    set({ layer, head });
    if (inside && state.view !== "lines") refocus();
  } else if ((key === "," || key === ".") && several) set({ text: within(state.text + (key === "," ? -1 : 1), texts.length) });
  else if (key === "Escape" && (state.part || state.held)) set({ part: null, held: null });
  else if (key === "Escape" && state.pinned) point(null);
  else if (key === "Escape" && state.view === "map") set({ view: state.from, cursor: null }).then(refocus);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function play() { // from text to text; from the first when the last is shown
  const stop = () => { clearInterval(playing); playing = 0; controls(); };
  if (playing) return stop();
  const next = () => state.text + 1 < texts.length ? set({ text: state.text + 1 }) : stop();
  playing = setInterval(next, 700);
  set({ text: state.text === texts.length - 1 ? 0 : state.text });
}

function dress(theme) {
  host.dataset.theme = theme;
  if ("page" in host.dataset) document.documentElement.style.colorScheme = theme;
  const style = getComputedStyle(host);
  for (const name of "paper card ink soft faint rule mask accent accent-wash less more tone".split(" "))
    ink[name] = style.getPropertyValue("--" + name).trim();
  family = style.fontFamily;
}

function preferred() { // the theme of a notebook around this, where there is one, else the system's
  try {
    for (const { document: { body, documentElement: top } } of [window, window.parent]) {
      if (top.getAttribute("theme")) return top.getAttribute("theme") === "dark" ? "dark" : "light"; // Colab
      if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
      if (body.dataset.vscodeThemeKind) return /dark|high-contrast$/.test(body.dataset.vscodeThemeKind) ? "dark" : "light";
    }
  } catch { /* a frame that may not be looked into */ }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

$(".title").textContent = data.title;
for (const select of root.querySelectorAll(".which select, .against select"))
  select.append(...texts.map(({ title }, i) => new Option(title, i)));
for (const tab of root.querySelectorAll("[data-view]")) tab.onclick = () => set({ ...leave(), view: tab.dataset.view });
for (const choice of root.querySelectorAll("[data-mode]")) choice.onclick = () => set({ mode: choice.dataset.mode });
const bind = (selector, name, read = Number) =>
  $(selector).addEventListener("input", event => set({ [name]: read(event.target.value) }));
for (const name of ["layer", "head", "least"]) bind(`.${name} input`, name);
bind(".moment input", "text");
bind(".which select", "text");
bind(".against select", "against");
bind(".reach select", "reach", String);
bind(".curve select", "curve", String);
$(".play").onclick = play;
$(".theme").onclick = () => { dress(host.dataset.theme === "dark" ? "light" : "dark"); draw(); };
("page" in host.dataset ? document : host).addEventListener("keydown", press);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { dress(preferred()); draw(); });
dress(preferred());
let width = 0; // only another width draws anew, so that a frame which grows with its content comes to rest
new ResizeObserver(() => {
  if (stage.clientWidth === width) return;
  width = stage.clientWidth;
  if (width) draw();
}).observe(stage);
