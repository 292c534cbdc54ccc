"""What objectives of tasks have in common: a head on a stack, and a term whose targets and weights the rows of data/tasks bring.

What a model answers is `predict`, whose arrays the evaluator collects over all held-out rows.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch, Row
from kernels.cross_entropy import cross_entropy_and_log_sum, is_highest, regularised
from model.config import TransformerConfig
from model.pooling import Pooling
from model.task_models import StackKind, TaskHead, task_model
from train.objectives.interface import Measured

NOWHERE = -1e9  # the score of a place or a choice that cannot be the answer


@dataclass(frozen=True)
class TaskObjective:
    """What the objectives of tasks have in common: a stack, how its states are summed up, and a head over them.

    `stack` and `outputs` are decided when a run begins, by what it starts from and by the labels of its task.
    """

    stack: StackKind = "encoder"
    """What the head stands on; --init decides it where one is given."""
    pooling: Pooling | None = None
    """A segment as one vector: its "first" token, the "last", or the "mean" of all; None: as is usual for the stack."""
    pooler: bool = True
    """Whether BERT's pooler, tanh(x P + p), stands between that vector and the head, where the stack is an encoder."""
    outputs: int | None = None
    """Scores that the head gives; None: as many as the task has labels."""

    headline: ClassVar[tuple[str, ...]] = ()
    """Scores that are named beside `valid_loss`; the metrics of the task take their place."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Names of the task kinds of data/tasks that it is for."""
    by_token: ClassVar[bool] = False
    """Whether every token has scores of its own, so that nothing is summed up."""

    def __post_init__(self):
        if self.pooling == "first" and self.stack == "decoder":
            raise ValueError('pooling="first": the first token of a decoder has seen nothing but itself; use "last"')
        if self.outputs is not None and self.outputs < 0:
            raise ValueError(f"outputs={self.outputs} must be 0 or more")

    @property
    def pools(self) -> Pooling | None:
        """How segments are summed up: as asked, or as is usual for the stack; None where they are not."""
        if self.by_token:
            return None
        usual: dict[StackKind, Pooling] = {"encoder": "first", "decoder": "last", "encoder_decoder": "mean"}
        return self.pooling or usual[self.stack]

    @property
    def has_pooler(self) -> bool:
        """Whether the model has BERT's pooler."""
        return self.pooler and self.stack == "encoder" and not self.by_token

    def sizes(self, task: Any, row: Row) -> dict[str, Any]:
        """What a resolved task, of which this is a row, decides of the fields."""
        labels = getattr(task, "labels", None)
        if labels is None:
            return {}
        if self.outputs not in (None, len(labels)):
            raise ValueError(f"objective.outputs={self.outputs} for {len(labels)} labels; leave it out")
        return {"outputs": len(labels)}

    def longest(self, row_length: int) -> int:
        return row_length

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> Any:
        """The stack with its head."""
        outputs = 1 if self.outputs is None else self.outputs
        return task_model(self.stack, config, outputs, self.pools, pooler=self.has_pooler, rngs=rngs)

    def states(self, model: TaskHead, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B T D"]:
        """The hidden states of the rows."""
        return model.states(batch.tokens, batch.positions, batch.segments, batch.token_types, dropout_keys=dropout_keys)

    def scores_of(
        self, model: TaskHead, batch: Batch, dropout_keys: Array | None, segments: int = 1
    ) -> Float[Array, "B P C"]:
        """Scores of each segment of the rows, or of each token."""
        states = self.states(model, batch, dropout_keys)
        return model.classify(model.summed_up(states, batch.segments, segments), dropout_keys)

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        """Loss terms and metrics of one batch."""
        raise NotImplementedError

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """What the model answers, by name; float32, a row of the batch first."""
        raise NotImplementedError


def likelihood_terms(
    logits: Float[Array, "B K C"],
    labels: dict[str, Array],
    name: str,
    *,
    label_smoothing: float = 0.0,
    class_weights: tuple[float, ...] = (),
) -> Measured:
    """Term `name` with its accuracy: the negative log-likelihood of the targets [B, K], weighted."""
    targets, weights = labels[f"{name}_targets"], labels[f"{name}_weights"]
    loss, log_sum = cross_entropy_and_log_sum(logits, targets)
    total = regularised(loss, log_sum, logits, label_smoothing=label_smoothing)
    if class_weights:
        total = total * jnp.asarray(class_weights, jnp.float32)[targets]
    count = weights.sum()
    correct = is_highest(logits, targets).astype(jnp.float32)
    return Measured({name: ((total * weights).sum(), count)}, {"accuracy": ((correct * weights).sum(), count)})
