"""A grid of patches, 12 layers by 64 positions, against a loop of single patched forwards.

Both give the same numbers, and both are compiled beforehand. The loop runs the whole model for each cell, one program for each
layer's site; the grid starts at the patched layer, one program for all, many cells as the rows of one batch. The loop's cells
cost the same each, so of the large model only some, evenly spread, are timed.
"""

import statistics
import time
from typing import Any

import numpy as np
from flax import nnx

from model.attention import MultiHead
from model.capture import Plan
from model.decoder import LanguageModel
from model.families import gpt2
from model.inspection.calls import capture, measure, sites, text_inputs
from model.inspection.edits import patched
from model.inspection.metrics import LogitDifference
from model.inspection.patching import patch_grid
from model.mlp import PlainMLP

LAYERS, LENGTH = 12, 64
SHAPES = {  # name: (width, heads, vocabulary, cells of the loop that are timed)
    "width_64": (64, 4, 512, LAYERS * LENGTH),
    "gpt2_124m": (768, 12, 50_257, 96),
}
METRIC = LogitDifference(7, 9)


def bench_patching(rounds: int = 3) -> dict[str, Any]:
    """Seconds of a grid and of a loop over all cells, their ratio and their largest difference; medians of some rounds."""
    found: dict[str, Any] = {}
    for name, (width, heads, vocabulary, timed) in SHAPES.items():
        for key, value in compare(width, heads, vocabulary, timed, rounds).items():
            found[f"{name}_{key}"] = value
            print(f"{name}_{key:24} {value}", flush=True)
    return found


def compare(width: int, heads: int, vocabulary: int, timed: int, rounds: int) -> dict[str, Any]:
    """The figures of one shape."""
    config = gpt2.config(
        "small",
        vocab_size=vocabulary,
        hidden_size=width,
        num_layers=LAYERS,
        dropout_rate=0.0,
        attention=MultiHead(heads, dropout_rate=0.0),
        mlp=PlainMLP(4 * width, "gelu_tanh"),
    )
    model = LanguageModel(config, rngs=nnx.Rngs(0))
    clean, corrupted = (
        text_inputs([np.random.default_rng(seed).integers(0, vocabulary, LENGTH).astype(np.int32)]) for seed in (0, 1)
    )
    _, source = capture(model, clean, Plan(("layers.*.residual",)))
    there = sites(model, corrupted)
    cells = [divmod(int(number), LENGTH) for number in np.linspace(0, LAYERS * LENGTH - 1, timed).round()]

    def one(layer: int, position: int) -> float:
        edit = patched(f"layers.{layer}.residual", source, there, positions=[position])
        return float(measure(model, corrupted, METRIC, [edit.place], [edit.change])[0])

    for layer in range(LAYERS):
        one(layer, 0)  # compiled
    before = programs()
    grid = np.asarray(patch_grid(model, corrupted, source, METRIC))
    compiled = programs() - before
    grids, loops, values = [], [], np.zeros(len(cells))
    for _ in range(rounds):
        begin = time.perf_counter()
        grid = np.asarray(patch_grid(model, corrupted, source, METRIC))
        grids.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        values = np.array([one(*cell) for cell in cells])
        loops.append((time.perf_counter() - begin) * LAYERS * LENGTH / len(cells))
    difference = np.abs(values - np.array([grid[cell] for cell in cells])).max()
    return {
        "grid_seconds": round(statistics.median(grids), 3),
        "loop_seconds": round(statistics.median(loops), 3),
        "loop_over_grid": round(statistics.median(loops) / statistics.median(grids), 2),
        "largest_difference": float(f"{difference:.1e}"),
        "programs_of_the_grid": compiled,
        "cells_timed_of_the_loop": len(cells),
    }


def programs() -> int:
    """Programs of the grid that have been compiled so far."""
    from model.inspection.patching import _cells

    return _cells._cache_size()  # type: ignore[attr-defined]
