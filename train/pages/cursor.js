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
