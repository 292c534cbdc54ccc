"""Attention watched during training: figures of every head each few steps, and maps at each evaluation.

`--watch 'layers.*.attention'` runs a second, separate program over the same parameters on a few held-out rows. The training
step knows nothing of it, and its compiled text is the same; what watching took is recorded beside what it saw.
"""

import fnmatch
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from data.batch import Batch
from data.tokenizers import Tokenizer
from model.capture import Plan, SiteError, captured, no_such_site
from train.evaluator import Evaluator
from train.objectives import Objective
from train.run import RunFolder
from train.sharding import batch_sharding, place_batch
from train.state import Built, Params
from train.step import cast

ROWS, LENGTH = 8, 64  # rows whose heads are measured; tokens of the one whose maps are kept
FOLDER = "attention"
FIGURES = ("entropy", "max_logit", "sink_mass", "distance")


class Watch:
    """The attention of some modules, on the same few rows at every step."""

    def __init__(
        self,
        folder: RunFolder,
        built: Built,
        objective: Objective,
        evaluator: Evaluator,
        tokenizer: Tokenizer,
        *,
        patterns: str,
        every: int,
        compute_dtype: str = "float32",
    ):
        """`patterns` name modules, as layers.*.attention, several with commas between. SiteError where one meets none."""
        self.every, self._folder, self._built, self._tokenizer = every, folder, built, tokenizer
        rows = next(iter(evaluator.batches(objective.modes[0], ROWS)))
        self._batch = place_batch(rows, batch_sharding(built.mesh))
        self._shown = shown(rows)

        def run(params: Params, batch: Batch, plan: Plan) -> dict[str, Array]:
            model = built.parts.merge(cast(params, compute_dtype))
            return captured(model, lambda model: objective.hidden(model, batch, None), plan)[1]

        def measure(params: Params, batch: Batch, modules: tuple[str, ...]) -> dict[str, dict[str, Array]]:
            seen = run(
                params, batch, Plan(tuple(f"{name}.{word}" for name in modules for word in ("weights", "scores")))
            )
            return {
                name: heads(seen[f"{name}.weights"], seen[f"{name}.scores"], *sides(name, batch)) for name in modules
            }

        def maps(params: Params, batch: Batch, modules: tuple[str, ...]) -> dict[str, Array]:
            seen = run(params, batch, Plan(tuple(f"{name}.weights" for name in modules)))
            return {name: seen[f"{name}.weights"][0, :, :LENGTH, :LENGTH].astype(jnp.float32) for name in modules}

        with jax.set_mesh(built.mesh):
            every_map = functools.partial(run, plan=Plan(("*attention.weights",)))
            there = [
                site.removesuffix(".weights") for site in jax.eval_shape(every_map, built.parts.params, self._batch)
            ]
        self.modules = chosen(there, patterns)
        self._measure = jax.jit(measure, static_argnums=2)
        self._maps = jax.jit(maps, static_argnums=2)

    def look(self, params: Params) -> dict[str, Any]:
        """The figures of every head, by module, and the seconds that they took."""
        begin = time.perf_counter()
        with jax.set_mesh(self._built.mesh):
            found = jax.device_get(self._measure(params, self._batch, self.modules))
        rounded = {name: {word: np.round(value, 4) for word, value in one.items()} for name, one in found.items()}
        return {"heads": rounded, "watch_seconds": time.perf_counter() - begin}

    def keep_maps(self, step: int, params: Params) -> None:
        """The maps of one row into attention/STEP.npz of the run folder: one array for each module, and the words."""
        with jax.set_mesh(self._built.mesh):
            found = jax.device_get(self._maps(params, self._batch, self.modules))
        words = {side: np.array([self._tokenizer.token(index) for index in ids]) for side, ids in self._shown.items()}
        arrays: dict[str, Any] = dict(words)
        for name, value in found.items():
            looks, seen = (len(words[side]) for side in sides_of(name))
            arrays[name] = value[:, :looks, :seen].astype(np.float16)
        (self._folder / FOLDER).mkdir(exist_ok=True)
        temporary = self._folder / FOLDER / f".{step}.npz"
        np.savez_compressed(temporary, **arrays)
        temporary.replace(self._folder / FOLDER / f"{step}.npz")


def heads(
    weights: Float[Array, "B N T S"],
    scores: Float[Array, "B N T S"],
    segments: Int[Array, "B T"],
    places: Int[Array, "B T"],
    key_places: Int[Array, "B S"],
) -> dict[str, Float[Array, " N"]]:
    """What each head does, on the mean over real tokens: entropy of its weights in nats, its largest score, the weight on
    the first token of a text, and how far away it looks, in tokens.

    >>> one = jnp.full((1, 1, 1, 4), 0.25)
    >>> place = jnp.array([[0, 1, 2, 3]])
    >>> {k: round(float(v[0]), 2) for k, v in heads(one, one, jnp.ones((1, 1), int), jnp.array([[3]]), place).items()}
    {'entropy': 1.39, 'max_logit': 0.25, 'sink_mass': 0.25, 'distance': 1.5}
    """
    real: Bool[Array, "B T"] = segments > 0
    weights = weights.astype(jnp.float32)

    def mean(values: Float[Array, "B N T"]) -> Float[Array, " N"]:
        return jnp.where(real[:, None], values, 0.0).sum((0, 2)) / jnp.maximum(real.sum(), 1)

    apart = jnp.abs(places[:, :, None] - key_places[:, None, :]).astype(jnp.float32)
    seen = (weights > 0) & real[:, None, :, None]
    return {
        "entropy": mean(-(weights * jnp.log(jnp.where(weights > 0, weights, 1.0))).sum(-1)),
        "max_logit": jnp.where(seen, scores, -jnp.inf).max((0, 2, 3)),
        "sink_mass": mean(jnp.where((key_places == 0)[:, None, None, :], weights, 0.0).sum(-1)),
        "distance": mean((weights * apart[:, None]).sum(-1)),
    }


def sides_of(module: str) -> tuple[str, str]:
    """Who looks in a module, and at what.

    >>> sides_of("decoder.layers.0.cross_attention")
    ('tokens', 'source_tokens')
    """
    if module.startswith("encoder."):
        return "source_tokens", "source_tokens"
    return "tokens", "source_tokens" if "cross_attention" in module else "tokens"


def sides(module: str, batch: Batch) -> tuple[Any, Any, Any]:
    """Segments and places of those who look in a module, and places of what is looked at."""
    here, there = (side.removesuffix("tokens") for side in sides_of(module))
    return (
        *(getattr(batch, f"{here}{what}") for what in ("segments", "positions")),
        getattr(batch, f"{there}positions"),
    )


def shown(rows: Batch) -> dict[str, np.ndarray]:
    """Ids of the row whose maps are kept, by side, padding left out."""
    found = {}
    for side in ("tokens", "source_tokens"):
        ids, segments = (getattr(rows, name) for name in (side, side.replace("tokens", "segments")))
        if ids is not None:
            found[side] = np.asarray(ids)[0][np.asarray(segments)[0] > 0][:LENGTH]
    return found


def chosen(there: list[str], patterns: str) -> tuple[str, ...]:
    """The modules that patterns name; SiteError for one that names none.

    >>> chosen(["layers.0.attention", "layers.1.attention"], "layers.1*")
    ('layers.1.attention',)
    """
    found: list[str] = []
    for pattern in (word.strip() for word in patterns.split(",") if word.strip()):
        met = [name for name in there if fnmatch.fnmatchcase(name, pattern)]
        if not met:
            raise SiteError(f"--watch: {no_such_site(pattern, there)}")
        found += met
    return tuple(dict.fromkeys(found))
