"""The look of `report.html`: its style, its small script and its frame. Nothing is loaded from anywhere.

Colours come from two sets of variables, light and dark, chosen by the reader's system. Text and marks keep a contrast of at
least 4.5 to 1 on both; no meaning is carried by colour alone. The script only moves a cursor over the curves.
"""

from html import escape

STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1c1b19; --soft: #605d57; --rule: #e4e0d8; --grid: #ece9e2; --wash: #f3f0e9;
  --tone1: #2456c9; --tone2: #b3246b; --tone3: #0f7a66; --tone4: #a35c00; --tone5: #6b43c4;
  --good: #0f7a48; --good-wash: #dff3e6; --near: #8a5a00; --near-wash: #faeecd; --bad: #b3261e; --bad-wash: #fbe3e0 }
@media (prefers-color-scheme: dark) { :root {
  --paper: #131417; --card: #1b1d21; --ink: #ecebe7; --soft: #a5a39c; --rule: #2f3238; --grid: #272a2f; --wash: #24272c;
  --tone1: #7ea6ff; --tone2: #ff85b8; --tone3: #4fd1b5; --tone4: #f0b050; --tone5: #b79bff;
  --good: #6fdc9c; --good-wash: #173626; --near: #f0c060; --near-wash: #3a2f14; --bad: #ff9a90; --bad-wash: #43211f } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5; font-size: 16px;
  font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums }
main, body > header, body > footer { max-width: 1120px; margin: 0 auto; padding: 0 clamp(16px, 3vw, 32px) }
h1, h2, h3 { line-height: 1.2; margin: 0; text-wrap: balance }
h1 { font: 600 clamp(2rem, 5vw, 3.1rem)/1.08 ui-serif, "Iowan Old Style", Charter, Georgia, serif;
  letter-spacing: -0.015em; overflow-wrap: anywhere }
h2 { font: 600 1.45rem/1.2 ui-serif, "Iowan Old Style", Charter, Georgia, serif; margin-bottom: 4px }
h3 { font-size: .95rem; font-weight: 650 }
p { margin: 0 } a { color: inherit }
code, pre, .mono { font-family: ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, monospace; font-size: .87em }
body > header { padding-top: clamp(28px, 6vw, 64px); padding-bottom: 8px }
.eyebrow { text-transform: uppercase; letter-spacing: .14em; font-size: .74rem; font-weight: 650; color: var(--soft);
  margin-bottom: 10px }
.lede { color: var(--soft); max-width: 72ch; margin-top: 12px; font-size: 1.05rem }
.pill { display: inline-block; border-radius: 99px; padding: 1px 10px; font-size: .82rem; font-weight: 600;
  vertical-align: .12em; background: var(--wash); color: var(--soft) }
.pill.done { background: var(--good-wash); color: var(--good) }
.pill.stopped { background: var(--near-wash); color: var(--near) }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 20px; padding: 10px 0; border-block: 1px solid var(--rule);
  font-size: .9rem }
nav a { color: var(--soft); text-decoration: none } nav a:hover { color: var(--ink); text-decoration: underline }
section { margin: 44px 0 0; scroll-margin-top: 12px }
.lead { color: var(--soft); max-width: 76ch; margin-bottom: 16px; font-size: .95rem }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(172px, 1fr)); margin: 24px 0 0 }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 16px 18px }
.tile dt { color: var(--soft); font-size: .84rem } .tile dd { margin: 0 }
.tile .big { font-size: 2.05rem; white-space: nowrap; font-weight: 620; letter-spacing: -.02em; line-height: 1.2 }
.tile .under { color: var(--soft); font-size: .82rem; line-height: 1.35 }
.tile.first { border-color: var(--tone2) } .tile.first .big { color: var(--tone2) }
.charts { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)) }
figure.chart { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 12px;
  padding: 14px 16px 8px; min-width: 0; display: flex; flex-direction: column }
figure.wide { grid-column: 1 / -1 }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 2px 16px;
  margin-bottom: auto; padding-bottom: 10px }
.key { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0 14px; font-size: .82rem;
  color: var(--soft) }
.key b { color: var(--ink); font-weight: 600 }
.key i { display: inline-block; width: 14px; border-top: 3px solid currentColor; border-radius: 2px; margin-right: 6px;
  vertical-align: .25em }
.key .dots i { width: 8px; height: 8px; border: 0; border-radius: 50%; background: currentColor; vertical-align: 0 }
.key li.tone1 i { color: var(--tone1) } .key li.tone2 i { color: var(--tone2) } .key li.tone3 i { color: var(--tone3) }
.key li.tone4 i { color: var(--tone4) } .key li.tone5 i { color: var(--tone5) }
.plot { position: relative; height: 168px; flex: none; margin: 0 10px 26px 46px; outline-offset: 6px; touch-action: pan-y }
.wide .plot { height: clamp(240px, 38vw, 380px) }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; display: block;
  clip-path: inset(-1px -5px -5px -5px) }
.plot path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round }
path.grid { stroke: var(--grid); stroke-width: 1px } path.mark { stroke: var(--soft); stroke-width: 1px;
  stroke-dasharray: 1 4 }
path.level { stroke: var(--tone4); stroke-width: 1.5px; stroke-dasharray: 6 5 }
path.tone1 { --c: var(--tone1) } path.tone2 { --c: var(--tone2) } path.tone3 { --c: var(--tone3) }
path.tone4 { --c: var(--tone4) } path.tone5 { --c: var(--tone5) }
path.curve { stroke: var(--c); stroke-width: 2px } path.noise { stroke: var(--c); stroke-width: 1px; opacity: .3 }
.plot path.band { fill: var(--c); opacity: .17 } path.thin { stroke: var(--c); stroke-width: 1.5px; opacity: .75 }
path.dot { stroke: var(--c); stroke-width: 7px }
.tick { position: absolute; font-size: .74rem; color: var(--soft); white-space: nowrap; line-height: 1 }
.tick.y { right: calc(100% + 8px); transform: translateY(50%) }
.tick.x { top: calc(100% + 8px); transform: translateX(-50%) }
span.level { position: absolute; right: 4px; padding: 0 4px 3px; font-size: .76rem; color: var(--tone4); line-height: 1 }
.note { color: var(--soft); font-size: .8rem; margin: 0 0 6px }
.cursor { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--soft); pointer-events: none }
.tip { position: absolute; top: 4px; padding: 6px 10px; border-radius: 8px; background: var(--ink); color: var(--paper);
  font-size: .78rem; line-height: 1.45; pointer-events: none; white-space: nowrap; z-index: 1 }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 12px; background: var(--card) }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
caption { text-align: left; padding: 10px 14px 4px; font-weight: 650; font-size: .95rem }
th, td { text-align: left; padding: 6px 14px; border-top: 1px solid var(--rule); vertical-align: top }
thead th { color: var(--soft); font-weight: 550; font-size: .82rem; border-top: 0; vertical-align: bottom }
tbody th { font-weight: 500 } td.number, th.number { text-align: right; white-space: nowrap }
tr.best td.number, tr.best th { font-weight: 650 } .aside { color: var(--soft); font-size: .86rem; font-weight: 400 }
th .aside { display: block; line-height: 1.35 }
.pair { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  align-items: start }
.ladder { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 12px 16px 14px }
.ladder p { color: var(--soft); font-size: .86rem; margin-top: 4px }
.ladder ol { list-style: none; margin: 10px 0 0; padding: 0; display: grid; gap: 12px; font-size: .9rem }
.ladder li span { display: flex; justify-content: space-between; gap: 8px } .ladder li b { font-weight: 600 }
.track { display: block; height: 12px; border-radius: 6px; background: var(--wash); overflow: hidden; margin-top: 3px }
.track i { display: block; height: 100%; border-radius: inherit; background: var(--soft) }
.ladder .ours i { background: var(--tone2) } .ladder .floor i { background: var(--tone4) }
.samples { display: grid; gap: 14px }
.sample { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 16px 18px }
.sample p { font: 1.06rem/1.75 ui-serif, "Iowan Old Style", Charter, Georgia, serif; overflow-wrap: anywhere;
  max-width: 88ch }
.blank { border-radius: 5px; padding: 1px 6px; font-weight: 600; background: var(--wash) }
.blank sup { font: 600 .62em/1 ui-sans-serif, system-ui, sans-serif; margin-right: 3px }
.hit { background: var(--good-wash); color: var(--good) } .near { background: var(--near-wash); color: var(--near) }
.miss { background: var(--bad-wash); color: var(--bad) } .other { color: var(--soft) }
.guesses { display: grid; gap: 14px 22px; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); margin-top: 14px }
.guesses h3 { font-size: .84rem; margin-bottom: 4px } .guesses ol { list-style: none; margin: 0; padding: 0 }
.guesses li { display: grid; grid-template-columns: minmax(0, 1.3fr) minmax(30px, 1fr) 3.2em; gap: 8px; align-items: center;
  font-size: .84rem }
.guesses li span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.guesses li span:last-child { text-align: right; color: var(--soft) }
.guesses .track { margin: 0; height: 7px } .guesses .track i { background: var(--tone1) }
.guesses .right { font-weight: 650; color: var(--good) } .guesses .right .track i { background: var(--good) }
.stack { display: grid; gap: 14px; min-width: 0 } .pair + .confusion { margin-top: 14px }
.confusion .wide-picture { overflow-x: auto }
.confusion svg { display: block; max-width: none; height: auto; font-size: 13px }
.confusion rect { stroke: var(--rule); stroke-width: 1px } .confusion rect.empty { fill: none }
.confusion rect.right { fill: var(--tone1) }
.confusion rect.wrong { fill: var(--tone2) } .confusion text { fill: var(--ink) }
.confusion text.axis { fill: var(--soft); font-size: 11px } .confusion .note { margin-top: 8px }
.sample p.verdict { font: inherit; font-size: .92rem; color: var(--soft); margin-top: 8px }
.for { border-radius: 4px; background: color-mix(in srgb, var(--tone1) calc(var(--share) * 45%), transparent) }
.against { text-decoration: underline wavy 1.5px color-mix(in srgb, var(--tone2) calc(25% + var(--share) * 75%), transparent);
  text-underline-offset: .18em }
.settings { columns: 2 380px; column-gap: 14px } .settings .scroll { break-inside: avoid; margin-bottom: 14px }
.settings table, .facts table { table-layout: fixed } .settings th, .facts th { width: 54% } .facts th { width: 40% }
.settings th, .settings td, .facts th, .facts td { overflow-wrap: anywhere; padding-block: 3px; vertical-align: baseline }
.settings tr:last-child > *, .facts tr:last-child > * { padding-bottom: 8px }
tr.changed { background: var(--near-wash) } .was { color: var(--near); font-size: .86em; display: block }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 14px 16px; overflow-x: auto;
  margin: 0 0 14px; white-space: pre-wrap; overflow-wrap: anywhere }
body > footer { color: var(--soft); font-size: .84rem; padding-block: 48px 40px }
@media (max-width: 560px) { th, td { padding-inline: 10px } .plot { margin-left: 40px }
  .tiles { grid-template-columns: 1fr 1fr } .tile { padding: 12px 14px } .tile .big { font-size: 1.6rem }
  .tile.first { grid-column: 1 / -1 } .tile.first .big { font-size: 2.2rem } }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto } }
@media print { nav { display: none } .tile, figure, .scroll, .sample { break-inside: avoid } }
"""

SCRIPT = """
for (const plot of document.querySelectorAll(".plot[data-curves]")) {
  const { x: [low, high], unit, digits, axis, series } = JSON.parse(plot.dataset.curves);
  let cursor, tip, share = 1;
  const written = y => unit === "%" ? (100 * y).toFixed(1) + "%" : Math.abs(y) >= 100 ? Math.round(y).toLocaleString("en")
    : y && Math.abs(y) < 10 ** (1 - digits) ? y.toExponential(2) : y.toFixed(digits);
  const show = () => {
    if (!cursor) { cursor = plot.appendChild(document.createElement("div")); cursor.className = "cursor";
      tip = plot.appendChild(document.createElement("div")); tip.className = "tip"; }
    const at = low + share * (high - low);
    const near = series.map(s => s.points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
    const step = near.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)[0];
    tip.textContent = ""; tip.append(axis + " " + step.toLocaleString("en"));
    near.forEach(([x, y], i) => tip.append(document.createElement("br"),
      series[i].label + "  " + written(y) + (x === step ? "" : " at " + x.toLocaleString("en"))));
    const left = (step - low) / (high - low);
    cursor.style.left = 100 * left + "%";
    tip.style.left = left < 0.5 ? "calc(" + 100 * left + "% + 8px)" : "auto";
    tip.style.right = left < 0.5 ? "auto" : "calc(" + 100 * (1 - left) + "% + 8px)";
  };
  const hide = () => { cursor?.remove(); tip?.remove(); cursor = tip = undefined; };
  plot.addEventListener("pointermove", event => {
    const box = plot.getBoundingClientRect();
    share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1); show(); });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", event => {
    const move = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (move) { share = Math.min(Math.max(share + move, 0), 1); show(); event.preventDefault(); } });
}
"""

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def page(title: str, header: str, body: str, footer: str) -> str:
    """A whole HTML document; the policy forbids it to load anything."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>{header}</header>
<main>{body}</main>
<footer>{footer}</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""
