// Words and numbers, on the page and on canvases. A token stays as it is; the marks of its tokenizer are shown quietly.

const QUIET = { "\n": "\u21b5", "\u010a": "\u21b5", "\t": "\u21e5", "\u0109": "\u21e5" }; // every other space is a dot
const SPACES = "[\\s\\u0120\\u2581\\u010a\\u0109]*";
const MARKED = new RegExp(`^(##|${SPACES})([^]*?)(</w>|${SPACES})$`);
const ink = {}; // the colours of the theme by name, as `dress` found them in the style
let family = "sans-serif";

function written(weight) {
  const size = Math.abs(weight), sign = weight < 0 ? "\u2212" : "";
  return sign + (size === 0 ? "0" : size < 5e-4 ? size.toExponential(1) : size.toFixed(size < 0.01 ? 4 : 3));
}

function wordParts(word) { // [text, quiet] pairs
  if (word === "") return [["\u2205", true]];
  if (/^(\[.+\]|<.+>)$/.test(word)) return [[word, true]];
  const [, before, middle, after] = word.match(MARKED);
  const quiet = marks => marks === "##" || marks === "</w>" ? marks : [...marks].map(mark => QUIET[mark] ?? "\u00b7").join("");
  return [[quiet(before), true], [middle, false], [quiet(after), true]].filter(([text]) => text);
}

function element(tag, name, ...content) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...content);
  return made;
}

function button(name, label, press) {
  const made = element("button", name, label);
  made.type = "button";
  made.onclick = press;
  return made;
}

function wordNode(word) {
  const parts = wordParts(word), made = element("span", "word");
  made.title = word;
  if (parts.every(([, quiet]) => quiet)) made.classList.add("special");
  made.append(...parts.map(([text, quiet]) => quiet ? element("span", "mark", text) : text));
  return made;
}

// A word on a canvas at one line, shortened to `most` pixels; `before` is a quiet number in front of it.
function drawWord(pen, word, x, y, { align = "left", most = 140, strong = false, before = "" } = {}) {
  const parts = [...(before ? [[before + " ", true]] : []), ...wordParts(word)];
  const glyphs = parts.flatMap(([text, quiet]) => [...text].map(glyph => [glyph, quiet]));
  const runs = kept => kept.reduce((all, [glyph, quiet]) => {
    if (all.at(-1)?.[1] === quiet) all.at(-1)[0] += glyph; else all.push([glyph, quiet]);
    return all;
  }, []);
  let drawn = runs(glyphs);
  const measure = () => drawn.reduce((sum, [text]) => sum + pen.measureText(text).width, 0);
  for (let n = glyphs.length; measure() > most && n > 1; n--) drawn = runs([...glyphs.slice(0, n - 1), ["\u2026", true]]);
  let at = align === "right" ? x - measure() : x;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const [text, quiet] of drawn) {
    pen.fillStyle = strong ? ink.ink : quiet && parts.length > 1 ? ink.faint : ink.soft;
    pen.fillText(text, at, y);
    at += pen.measureText(text).width;
  }
}

const font = (size, weight = 400) => `${weight} ${size}px ${family}`;

function sharp(canvas, width, height) { // a canvas of this size on the page, in the screen's own pixels
  const scale = Math.min(devicePixelRatio || 1, 3);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = width + "px";
  canvas.style.height = height + "px";
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  return pen;
}

// --- What is under the pointer, in words.

const titleOf = ({ text, minus }) => texts[text].title + (minus === undefined ? "" : ` minus ${texts[minus].title}`);
const placeOf = (layer, head) => `layer ${layers[layer]}, head ${heads[head]}`;
function pair({ text }, [t, s], weight) {
  const [query, key] = [wordNode(texts[text].queries[t]), wordNode(texts[text].keys[s])];
  return [query, " \u2192 ", key, " \u2002", element("b", "", written(weight))];
}

function say(panel, layer, head, cell, weight) { // for those who read the line below, or hear it
  const where = placeOf(layer, head) + (several ? ", " + titleOf(panel) : "");
  $(".status").replaceChildren(...pair(panel, cell, weight), ` \u2003${where}`);
}

function showTip(event, panel, layer, head, cell, weight, note = "") {
  const tip = $(".tip"), box = $(".view").getBoundingClientRect();
  tip.replaceChildren(...pair(panel, cell, weight));
  if (note) tip.append(element("br"), element("small", "", note));
  tip.hidden = false;
  const x = event.clientX - box.left, y = event.clientY - box.top, below = y + 20 + tip.offsetHeight <= box.height;
  tip.style.left = Math.max(4, Math.min(x + 16, box.width - tip.offsetWidth - 6)) + "px";
  tip.style.top = (below ? y + 20 : y - tip.offsetHeight - 12) + "px";
  say(panel, layer, head, cell, weight);
}

function hideTip() {
  $(".tip").hidden = true;
}
