"""Several adapters on one base: one is active, the others wait as small trees of arrays."""

from typing import Any, NamedTuple

from flax import nnx
from jaxtyping import Array

from model.peft.attaching import Peft, added_paths, attach
from model.peft.sites import WORDS, PeftError


class Waiting(NamedTuple):
    """An adapter that is not active: what it is, and its arrays by their paths."""

    choice: Peft
    arrays: dict[str, Array]


class Adapters:
    """Adapters by name, over one base whose arrays they share.

    `use` gives the base with one of them. Two of the same choice have the same structure, so a function that was compiled for
    one runs with the other: switching costs nothing.
    """

    def __init__(self, base: nnx.Module):
        if added_paths(base):
            raise PeftError("this model is tuned already; give its base, as detach makes it")
        self.base = base
        self._waiting: dict[str, Waiting] = {}
        self._bare: dict[Peft, Any] = {}

    def __iter__(self):
        return iter(self._waiting)

    def add(self, name: str, choice: Peft, tuned: nnx.Module | nnx.Rngs) -> None:
        """Keep what was attached to `tuned`, a model over the same base, under a name; or begin a new one from `Rngs`."""
        if name in self._waiting:
            raise PeftError(f"there is an adapter {name!r} already; choose another name, or remove it first")
        whole = attach(self.base, choice, tuned) if isinstance(tuned, nnx.Rngs) else tuned
        arrays = hung_arrays(whole)
        if strange := sorted(set(hung_arrays(self._with(choice))) ^ set(arrays)):
            raise PeftError(f"{name!r} is no adapter of this choice on this base: it differs in {strange[0]}")
        self._waiting[name] = Waiting(choice, arrays)

    def remove(self, name: str) -> None:
        """Forget an adapter."""
        del self._waiting[self._known(name)]

    def use(self, name: str) -> Any:
        """The base with this adapter on it."""
        choice, arrays = self._waiting[self._known(name)]
        graph, state = nnx.split(self._with(choice))

        def fill(path: Any, leaf: Any) -> Any:
            return leaf.replace(arrays.get(".".join(map(str, path)), leaf.get_value()))

        return nnx.merge(graph, nnx.map_state(fill, state))

    def choice(self, name: str) -> Peft:
        """What an adapter is."""
        return self._waiting[self._known(name)].choice

    def _with(self, choice: Peft) -> Any:
        if choice not in self._bare:
            self._bare[choice] = attach(self.base, choice, nnx.Rngs(0))
        return self._bare[choice]

    def _known(self, name: str) -> str:
        if name not in self._waiting:
            raise PeftError(f"there is no adapter {name!r}; there are {', '.join(self._waiting) or 'none yet'}")
        return name


def hung_arrays(model: nnx.Module) -> dict[str, Array]:
    """All that was added to a model, what is never trained included, by its paths."""
    flat = [(tuple(map(str, path)), leaf) for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))]
    return {".".join(path): leaf.get_value() for path, leaf in flat if set(path) & set(WORDS)}
