"""Which modules a pattern selects, layer by layer, and how something is hung on them.

Layers lie stacked as one module with a leading axis. A pattern that selects some of them, `layers.[0-5].attention.query`, keeps
the stack whole: what is added has a row for every layer, and a frozen number for each says whether it acts there.
"""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model.capture import LAYERS, no_such_site
from model.foreign import one_line

WORDS = ("lora", "ia3", "shift", "adapter", "prefix", "prompt")
"""The names under which added parameters hang on a module; no module of a model's own is called so."""
FROZEN = "scale"
"""The last word of what is added but never trained: how strongly it acts, layer by layer."""

Path = tuple[Any, ...]


class PeftError(ValueError):
    """A tuning that does not fit its model, or a file; one line with the remedy."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(one_line(message))


class Found(NamedTuple):
    """A module that was selected.

    Attributes:
        path: where it lies.
        module: itself, with a leading axis of layers where it lies in a stack.
        on: for each row of the stack, whether it is selected; None outside of a stack.
    """

    path: Path
    module: Any
    on: tuple[bool, ...] | None

    @property
    def name(self) -> str:
        """The path in dots."""
        return ".".join(map(str, self.path))


def split_patterns(sites: str) -> list[str]:
    """Patterns that are separated by commas, none of them empty.

    >>> split_patterns("*.attention.query, *.mlp.up")
    ['*.attention.query', '*.mlp.up']
    """
    return [pattern.strip() for pattern in sites.split(",") if pattern.strip()]


def find(
    model: nnx.Module, sites: str, kinds: type | tuple[type, ...], fits: Callable[[Any], bool] = lambda module: True
) -> list[Found]:
    """The modules of these kinds that any of several patterns selects, of those that fit.

    SiteError with the nearest names where a pattern selects nothing.
    """
    patterns, met = split_patterns(sites), set()
    if not patterns:
        raise PeftError("sites is empty, so that nothing would be trained; name some, as *.attention.query")
    found, known = [], []
    for path, module, names in candidates(model, kinds):
        if not fits(module):
            continue
        flags = []
        for name in names:
            hits = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]
            met.update(hits)
            flags.append(bool(hits))
        known += names
        if any(flags):
            found.append(Found(path, module, _rows(path, model, flags)))
    for pattern in patterns:
        if pattern not in met:
            raise no_such_site(pattern, known)
    return found


def candidates(model: nnx.Module, kinds: type | tuple[type, ...]) -> list[tuple[Path, Any, list[str]]]:
    """Every module of these kinds: its path, itself, and its name in each layer.

    What has been added to a model is none of its modules.
    """
    listed = []
    for path, module in nnx.iter_modules(model):
        if not isinstance(module, kinds) or any(word in WORDS for word in path):
            continue
        place = stack_at(model, path)
        if place is None:
            names = [".".join(map(str, path))]
        else:
            above, below = path[: place + 1], path[place + 1 :]
            count = at(model, path[:place]).num_layers
            names = [".".join(map(str, (*above, number, *below))) for number in range(count)]
        listed.append((path, module, names))
    return sorted(listed, key=lambda item: [str(word) for word in item[0]])


def stack_at(model: nnx.Module, path: Path) -> int | None:
    """Where in a path the word of a stack of layers stands; None outside of a stack."""
    for place, word in enumerate(path):
        if word == LAYERS and not isinstance(at(model, path[: place + 1]), list | nnx.List):
            return place
    return None


def hang(found: Found, make: Callable[[Any, Array, Float[Array, ""], str], Any], rngs: nnx.Rngs) -> None:
    """Hang `make(module, key, on, name)` on a module; on each of its layers where it is a stack of them.

    `on` is 1.0 where the layer is selected and 0.0 elsewhere.
    """
    key = rngs.params()
    if found.on is None:
        part = make(found.module, key, jnp.float32(1), found.name)
    else:

        @nnx.vmap(in_axes=(0, 0, 0), out_axes=0)
        def make_each(module: Any, key: Array, on: Array) -> Any:
            return make(module, key, on, found.name)

        on = jnp.array(found.on, jnp.float32)
        part = make_each(found.module, jax.random.split(key, len(found.on)), on)
    hang_part(found.module, part)


def hang_part(module: Any, part: Any) -> None:
    """Let a module ask what hangs on it from now on."""
    module.tuned = part.word
    setattr(module, part.word, part)


def tuned_modules(model: nnx.Module) -> list[tuple[Path, Any, Any]]:
    """Every module on which something hangs: its path, itself, and what hangs there."""
    modules: list[tuple[Path, Any]] = list(nnx.iter_modules(model))
    return [(path, part, getattr(part, part.tuned)) for path, part in modules if getattr(part, "tuned", None)]


def unhang(module: Any) -> None:
    """Take away what hangs on a module."""
    delattr(module, module.tuned)
    del module.tuned


def at(model: Any, path: Path) -> Any:
    """The module at a path."""
    for word in path:
        model = model[word] if isinstance(word, int) else getattr(model, word)
    return model


def _rows(path: Path, model: nnx.Module, flags: Sequence[bool]) -> tuple[bool, ...] | None:
    """For each row of the stack of a path whether it is selected, from the layers that are."""
    place = stack_at(model, path)
    if place is None:
        return None
    rows = jax.tree.leaves(nnx.state(at(model, path[: place + 1])))[0].shape[0]
    if rows < len(flags) and not all(flags):
        raise PeftError(
            f"{'.'.join(map(str, path))} is shared by all {len(flags)} layers, so that it cannot be tuned in some of them; "
            "select it in every layer, with *"
        )
    return tuple(flags[:rows])
