"""Any optax transformation of a user's own in the place of an optimizer of ours."""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from train.optimizers.parts import OptimizerError, check, clipped, words
from train.schedules import Schedule, WarmupLinear


class Function:
    """A function of a user's own by its name, which is what a run folder keeps of it.

    It can be called where the experiment's file was read; anywhere else only its name is known. Behind the name stands the
    beginning of a digest of its source, so that a run does not go on with a function that was changed; what it calls is not
    looked at.
    """

    def __init__(self, name: str, function: Callable[..., Any] | None = None):
        self.name, self.function = name, function

    @classmethod
    def of(cls, function: Any) -> "Function":
        """TypeError for what is no function, ValueError for one without a name that can be found again."""
        if isinstance(function, Function):
            return function
        if isinstance(function, optax.GradientTransformation):
            raise TypeError(
                "a transformation is no function; write `def mine(rate): return ...` and give mine, which makes it"
            )
        if not callable(function):
            raise TypeError(f"{function!r} is no function; write `def mine(rate): return ...` and give mine")
        if inspect.ismethod(function):
            raise ValueError(
                f"{function.__qualname__} is bound to something that a run folder cannot keep; write it as a `def` of the file"
            )
        name = f"{function.__module__}.{getattr(function, '__qualname__', '<nameless>')}"
        if "<" in name:
            raise ValueError(
                f"{name} has no name by which a run could be gone on with; write it as a `def` of the file"
            )
        try:
            source = inspect.getsource(function)
        except (OSError, TypeError):
            return cls(name, function)
        return cls(f"{name}#{hashlib.sha256(source.encode()).hexdigest()[:8]}", function)

    @classmethod
    def __from_word__(cls, word: str) -> "Function":
        return cls(word)

    def __call__(self, *given: Any) -> Any:
        if self.function is None:
            raise OptimizerError(
                f"{self.name} is known by name only; go on with --exp=FILE, the file of the experiment that defines it"
            )
        return self.function(*given)

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class Optax:
    """What a function of a user's own gives: any transformation of optax, from a rate that is a function of the step.

        def mine(rate):
            return optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(rate))

        optimizer = Optax(mine)

    It is given gradients, parameters, and by name the loss as `value` and the gradient's norm as `gradient_norm`; what wants
    more, as a function to call again, cannot be used.
    `matrix_axes` of this package tells `optax.contrib.muon` and others which axes of a stack are its matrices. The state may be
    any tree of arrays whose shapes and types a step leaves as they are; arrays that mirror a parameter lie where it lies.
    """

    function: Function
    """From the rate to the transformation."""
    schedule: Schedule = WarmupLinear(peak=1e-3, warmup_steps=100)
    """The learning rate over the run, which the function is given."""
    eval_params: Function | None = None
    """From (state, params) to the weights that are scored, kept and exported, such as those of an average; None: params."""
    clip_norm: float | None = None
    """The gradient is scaled down to this global norm where it is longer; None: never."""

    def __post_init__(self):
        object.__setattr__(self, "function", Function.of(self.function))
        if self.eval_params is not None:
            object.__setattr__(self, "eval_params", Function.of(self.eval_params))
        check(self)

    @property
    def is_known(self) -> bool:
        """Whether it can be built here: in a run folder only the names of its functions are."""
        return self.function.function is not None

    def build(self, steps: int) -> optax.GradientTransformationExtraArgs:
        """The transformation of a run of `steps` steps.

        Raises:
            OptimizerError: the function is known by name only, or gives something else.
        """
        try:
            made = self.function(self.schedule.build(steps))
        except OptimizerError:
            raise
        except Exception as error:
            raise OptimizerError(f"optimizer.function {self.function} fails: {in_words(error)}") from error
        if not isinstance(made, optax.GradientTransformation):
            raise OptimizerError(
                f"optimizer.function {self.function} gives {type(made).__name__}, which is no transformation of optax; "
                "return one, such as optax.adam(rate)"
            )
        own = optax.with_extra_args_support(made)
        clip = clipped(self.clip_norm)

        def update(updates: Any, state: Any, params: Any = None, **more: Any) -> Any:
            updates, _ = clip.update(updates, clip.init(params), params, **more)
            return own.update(updates, state, params, **more)

        return optax.GradientTransformationExtraArgs(own.init, update)  # the state is the user's own


def check_step(transformation: optax.GradientTransformationExtraArgs, params: Any, scored_at: Any = None) -> None:
    """OptimizerError, with the path, where a step fails, or would change the shape or type of the state or of a parameter, or
    where what is scored is not shaped like the parameters."""

    def step(params):
        state = transformation.init(params)
        one = jnp.float32(1)
        return state, *transformation.update(params, state, params, gradient_norm=one, value=one)

    try:
        state, updates, after = jax.eval_shape(step, params)
    except Exception as error:
        raise OptimizerError(
            f"a step of optimizer.function fails: {in_words(error)}; its update is given gradients, state and parameters, and by "
            "name gradient_norm and value"
        ) from error
    alike("the state of optimizer.function", state, "after a step", after)
    alike("the parameters", params, "as updates of optimizer.function", updates)
    if scored_at is None:
        return
    try:
        scored = jax.eval_shape(scored_at, after, params)
    except Exception as error:
        raise OptimizerError(
            f"optimizer.eval_params fails: {in_words(error)}; it is given the state and the parameters"
        ) from error
    alike("the parameters", params, "as optimizer.eval_params gives them", scored)


def alike(what: str, old: Any, when: str, new: Any) -> None:
    """OptimizerError, with the path, where two trees of arrays differ in structure, shapes or types."""
    if jax.tree.structure(old) != jax.tree.structure(new):
        raise OptimizerError(f"{what} have another structure {when}; it must stay as it is")
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True):
        before, behind = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (one, other))
        if before != behind:
            place = ".".join(words(path))
            at = f" at {place}" if place else ""
            raise OptimizerError(f"{what}{at}: {before}, but {behind} {when}; shapes and types must stay as they are")


def in_words(error: Exception) -> str:
    """The kind of an error and its first line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
