"""Any optax transformation of a user's own in the place of an optimizer of ours."""

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

    It can be called where the experiment's file was read; anywhere else only its name is known. Two of one name are equal.
    """

    def __init__(self, name: str, function: Callable[..., Any] | None = None):
        self.name, self.function = name, function

    @classmethod
    def of(cls, function: Any) -> "Function":
        """TypeError for what is no function, ValueError for one without a name that can be found again."""
        if isinstance(function, Function):
            return function
        if not callable(function):
            raise TypeError(f"{function!r} is no function")
        name = f"{function.__module__}.{getattr(function, '__qualname__', '<nameless>')}"
        if "<" in name:
            raise ValueError(
                f"{name} has no name by which a run could be gone on with; write it as a `def` of the file"
            )
        return cls(name, function)

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
        made = self.function(self.schedule.build(steps))
        if not isinstance(made, optax.GradientTransformation):
            raise OptimizerError(
                f"optimizer.function {self.function} gives {type(made).__name__}, which is no transformation of optax"
            )
        if self.clip_norm is None:
            return optax.with_extra_args_support(made)
        return clipped(self.clip_norm, made)


def check_step(transformation: optax.GradientTransformationExtraArgs, params: Any) -> None:
    """OptimizerError, with the path, where a step would change the shape or type of the state or of a parameter."""

    def step(params):
        state = transformation.init(params)
        updates, after = transformation.update(params, state, params, gradient_norm=jnp.float32(1))
        return state, after, optax.apply_updates(params, updates)

    state, after, moved = jax.eval_shape(step, params)
    for what, old, new in (("state", state, after), ("parameters", params, moved)):
        if jax.tree.structure(old) != jax.tree.structure(new):
            raise OptimizerError(f"the {what} of optimizer.function have another structure after a step than before it")
        for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True):
            before, behind = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (one, other))
            if before != behind:
                raise OptimizerError(
                    f"a step of optimizer.function changes {'.'.join(words(path))} of its {what} from {before} to {behind}; "
                    "it must leave shapes and types as they are"
                )
