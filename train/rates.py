"""How fast each parameter learns, as a multiple of the schedule's rate: what fine-tuning changes in an optimizer.

A multiple is a number, or one a layer where parameters are stacked; 0 is a parameter that is frozen. It scales the update that
the optimizer gives, weight decay included, and the gradient of what is frozen is not even computed.
"""

import dataclasses
import difflib
import fnmatch
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from train.optimizers import STACKED
from train.sharding import dotted

ABOVE = 10_000  # the depth of what stands above all layers
Rates = dict[str, Any]  # by dotted path: a float, or an array [L] for stacked parameters; 1 where a path is missing


class SiteError(ValueError):
    """A pattern that meets no parameter; the message is one line with the nearest ones."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How the parts of a model that was trained before learn from here on."""

    layer_decay: float = 1.0
    """A layer learns at this multiple of the rate of the one above it; the head at the full rate, embeddings at the least.

    rate(depth) = rate * layer_decay^(L + 1 - depth), embeddings at depth 0, heads at L + 1 (Clark et al., arXiv:2003.10555).
    """
    freeze: str = ""
    """What does not learn at all: patterns of sites, as 'embeddings,layers.[0-5]'."""
    unfreeze_every: int | None = None
    """Gradual unfreezing (Howard and Ruder, arXiv:1801.06146): the head first, one more layer after each so many steps."""
    mixout: float = 0.0
    """Mixout: share of each weight matrix of the layers that stands where it began, drawn anew each step (train/mixout.py)."""

    def __post_init__(self):
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay={self.layer_decay} must lie in (0, 1], such as 0.9")
        if self.unfreeze_every is not None and self.unfreeze_every < 1:
            raise ValueError(f"unfreeze_every={self.unfreeze_every} must be at least 1, or None")
        if not 0 <= self.mixout < 1:
            raise ValueError(
                f"mixout={self.mixout} is a share of the weights; use at least 0 and less than 1, such as 0.7"
            )

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of what is frozen."""
        return tuple(word.strip() for word in self.freeze.split(",") if word.strip())

    def frozen(self, params: Any) -> frozenset[str]:
        """The dotted paths of parameters of which no part ever learns."""
        rates = Tuning(freeze=self.freeze).rates(params) if self.freeze else None
        if rates is None:
            return frozenset()
        return frozenset(
            path for path, rate in rates(jnp.zeros((), jnp.int32)).items() if np.all(np.asarray(rate) == 0)
        )

    def rates(self, params: Any, ratio: Callable[[str], float] | None = None) -> Callable[[Array], Rates] | None:
        """The rates of parameters (or of their shapes) as a function of the step; None where all learn alike.

        `ratio` gives what the rate of a path is multiplied by besides.
        SiteError for a pattern that meets nothing, or where nothing is left to learn.
        """
        shapes = {dotted(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
        ratios = {path: 1.0 if ratio is None else ratio(path) for path in shapes}
        if dataclasses.replace(self, mixout=0.0) == Tuning() and set(ratios.values()) <= {1.0}:
            return None
        fixed: Rates = {}
        for path, shape in shapes.items():
            depths = depths_of(path, shape)
            top = top_of(path, shapes)
            names = sites_of(path, shape)
            free = np.array([not any(matches(name, pattern) for pattern in self.patterns) for name in names])
            found = np.where(free, ratios[path] * self.layer_decay ** np.maximum(top - depths, 0), 0.0)
            found = found.astype(np.float32)
            fixed[path] = float(found[0]) if (found == found[0]).all() else found
        for pattern in self.patterns:
            check_pattern(pattern, shapes)
        if all(np.all(np.asarray(rate) == 0) for rate in fixed.values()):
            raise SiteError(f"freeze={self.freeze!r} leaves nothing to learn; freeze less")
        every = self.unfreeze_every
        if every is None:
            return lambda step: fixed

        def at(step: Array) -> Rates:
            def now(path: str) -> Any:
                top, depths = top_of(path, shapes), depths_of(path, shapes[path])
                if (depths >= top).all():
                    return fixed[path]
                return jnp.where(jnp.asarray(depths) >= top - step // every, jnp.asarray(fixed[path]), 0.0)

            return {path: now(path) for path in shapes}

        return at


def sites_of(path: str, shape: tuple[int, ...]) -> list[str]:
    """The names of a parameter, one a layer where it is stacked.

    >>> sites_of("layers.mlp.up.kernel", (2, 8, 16))
    ['layers.0.mlp.up.kernel', 'layers.1.mlp.up.kernel']
    """
    words = path.split(".")
    if STACKED not in words:
        return [path]
    at = words.index(STACKED) + 1
    return [".".join([*words[:at], str(layer), *words[at:]]) for layer in range(shape[0])]


def depths_of(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """How deep each site of a parameter lies: 0 embeddings, 1 to L the layers, far above them everything else."""
    words = path.split(".")
    if STACKED in words:
        return np.arange(1, shape[0] + 1)
    return np.array([0 if words[0] in ("embeddings", "position_bias") else ABOVE])


def top_of(path: str, shapes: dict[str, tuple[int, ...]]) -> int:
    """L + 1, of the stack that a parameter belongs to; of the largest where it belongs to none."""
    side = path.split(f".{STACKED}.")[0] if f".{STACKED}." in path else ""
    stacks = {name: shape[0] for name, shape in shapes.items() if STACKED in name.split(".")}
    return 1 + max((size for name, size in stacks.items() if name.startswith(side)), default=0)


def matches(site: str, pattern: str) -> bool:
    """Whether a pattern meets a site, or a module that holds it.

    >>> matches("layers.3.mlp.up.kernel", "layers.[0-5]"), matches("layers.13.mlp.up.kernel", "layers.[0-5]")
    (True, False)
    """
    words = site.split(".")
    return any(fnmatch.fnmatchcase(".".join(words[: n + 1]), pattern) for n in range(len(words)))


def check_pattern(pattern: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """SiteError, with the nearest sites, for a pattern that meets no parameter."""
    names = [name for path, shape in shapes.items() for name in sites_of(path, shape)]
    if any(matches(name, pattern) for name in names):
        return
    modules = sorted({name.rpartition(".")[0] for name in names})
    near = difflib.get_close_matches(pattern.replace("*", "0"), modules, n=3, cutoff=0.3) or modules[:3]
    raise SiteError(f"no parameter is called {pattern!r}; the nearest are {', '.join(near)}")


def scaled(updates: Any, rates: Rates) -> Any:
    """Updates times their rates, layer by layer; those of what is frozen are zero."""

    def scale(path: Any, update: Array) -> Array:
        rate = rates.get(dotted(path), 1.0)
        if isinstance(rate, float):
            return update if rate == 1.0 else jnp.zeros_like(update) if rate == 0.0 else update * rate
        return update * jnp.asarray(rate, update.dtype).reshape(-1, *(1,) * (update.ndim - 1))

    return jax.tree_util.tree_map_with_path(scale, updates)


def masked(gradients: Any, rates: Rates) -> Any:
    """Gradients with those of what is frozen at zero, so that the compiler leaves them out and no norm counts them."""

    def mask(path: Any, gradient: Array) -> Array:
        rate = rates.get(dotted(path), 1.0)
        if isinstance(rate, float):
            return jnp.zeros_like(gradient) if rate == 0.0 else gradient
        moves = (jnp.asarray(rate) > 0).reshape(-1, *(1,) * (gradient.ndim - 1))
        return jnp.where(moves, gradient, jnp.zeros((), gradient.dtype))

    return jax.tree_util.tree_map_with_path(mask, gradients)
