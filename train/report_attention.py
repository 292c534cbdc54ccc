"""The attention section of a report: maps over the training under a slider, and what every head does at each look."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from model.inspection.maps import AttentionMaps, Kind
from model.inspection.markup import joined
from model.inspection.view import fragment
from train.charts import Chart, Series, draw
from train.page import fill
from train.record import Record
from train.watching import FOLDER, sides_of

MOST_MAPS, MOST_LAYERS, MOST_HEADS = 24, 12, 5
TITLES: dict[Kind, str] = {"encoder": "Attention", "decoder": "Attention", "cross": "Cross attention"}
FIGURES = {"entropy": "entropy (nats)", "sink_mass": "weight on the first token"}


def attention(record: Record) -> Markup:
    """Maps and curves of what was watched; nothing where nothing was."""
    views = [fragment(maps, TITLES[kind]) for kind, maps in snapshots(record.folder).items()]
    drawn = joined(charts(record))
    return joined([*views, *([fill("page", "charts", drawn, " below")] if drawn else [])])


def lead(record: Record) -> str:
    """What is shown, and what watching cost."""
    looks = [line for line in record.events if line["event"] == "heads"]
    spent, steps = sum(line.get("watch_seconds", 0.0) for line in looks), record.sums.get("seconds", 0.0)
    cost = f" Watching took {spent / steps:.1%} of the time of the steps." if looks and steps else ""
    return f"One held-out row at each evaluation: move the slider to see heads form.{cost}"


def snapshots(folder: Path) -> dict[Kind, list[AttentionMaps]]:
    """The maps that were kept, by kind, in the order of their steps; of very many, some spread evenly."""
    steps = sorted(int(path.stem) for path in (folder / FOLDER).glob("*.npz") if path.stem.isdecimal())
    if len(steps) > MOST_MAPS:
        steps = [steps[round(place)] for place in np.linspace(0, len(steps) - 1, MOST_MAPS)]
    found: dict[Kind, list[AttentionMaps]] = {}
    for step in steps:
        with np.load(folder / FOLDER / f"{step}.npz", allow_pickle=False) as kept:
            for kind, names in kinds(list(kept)).items():
                looks, seen = (tuple(kept[side].tolist()) for side in sides_of(names[0]))
                weights = np.stack([kept[name] for name in names]).astype(np.float32)
                layers = tuple(int(name.split("layers.")[1].split(".")[0]) for name in names)
                heads = tuple(range(weights.shape[1]))
                one = AttentionMaps(weights, looks, seen, layers, heads, seen_as(kind, weights), f"step {step:,}")
                found.setdefault(kind, []).append(one)
    return found


def kinds(names: list[str]) -> dict[Kind, list[str]]:
    """Modules by the kind of their attention, layers in order.

    >>> kinds(["layers.1.attention", "tokens", "layers.0.attention", "decoder.layers.0.cross_attention"])
    {'encoder': ['layers.0.attention', 'layers.1.attention'], 'cross': ['decoder.layers.0.cross_attention']}
    """
    found: dict[Kind, list[str]] = {}
    for name in sorted((name for name in names if "layers." in name), key=lambda name: (len(name), name)):
        kind: Kind = "cross" if "cross" in name else "decoder" if name.startswith("decoder.") else "encoder"
        found.setdefault(kind, []).append(name)
    return found


def seen_as(kind: Kind, weights: np.ndarray) -> Kind:
    """The kind of some maps: where nobody looks ahead it is a decoder's, whatever its modules are called.

    >>> seen_as("encoder", np.tril(np.ones((1, 1, 3, 3))))
    'decoder'
    """
    ahead = np.triu(np.ones(weights.shape[-2:], bool), 1)
    return "decoder" if kind == "encoder" and ahead.any() and not weights[..., ahead].any() else kind


def charts(record: Record) -> list[Markup]:
    """One chart for each module and figure, a line for each head."""
    looks = [line for line in record.events if line["event"] == "heads"]
    modules = sorted({name for line in looks for name in line["heads"]}, key=lambda name: (len(name), name))
    drawn = []
    for figure, words in FIGURES.items():
        for number, module in enumerate(modules[:MOST_LAYERS]):
            series = lines(looks, module, figure)
            if series:
                ident = f"{record.ident}-{number}-{module}-{figure}"
                drawn.append(draw(Chart(ident, f"{module}: {words}", series, zero=True)))
    return drawn


def lines(looks: Sequence[Mapping[str, Any]], module: str, figure: str) -> list[Series]:
    """The heads of a module over the steps; of many, the first few."""
    there = [(line["step"], line["heads"][module][figure]) for line in looks if module in line["heads"]]
    number = min(len(there[0][1]) if there else 0, MOST_HEADS)
    return [
        Series(f"head {head}", [(step, values[head]) for step, values in there], 1 + head % 5, "plain")
        for head in range(number)
    ]
