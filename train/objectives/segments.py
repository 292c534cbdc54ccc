"""Objectives of rows that hold several texts: the right one of several endings, and texts that mean the same."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch, Row
from model.config import TransformerConfig
from model.task_models import task_model
from train.objectives.interface import Measured
from train.objectives.with_head import NOWHERE, TaskObjective, likelihood_terms


@dataclass(frozen=True)
class Choose(TaskObjective):
    """The right one of several continuations: each is a segment of one row, scored by itself.

        loss = mean over questions of -log softmax over choices of score(choice)

    Reference: Devlin et al., arXiv:1810.04805, section 4.4.
    """

    choices: int | None = None
    """Choices of a question; the task decides it when a run begins."""

    needs: ClassVar[tuple[str, ...]] = ("multiple_choice",)

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> Any:
        return task_model(self.stack, config, 1, self.pools, pooler=self.has_pooler, kind="choices", rngs=rngs)

    def sizes(self, task: Any, row: Row) -> dict[str, Any]:
        return {"choices": len(row.labels["choice_allowed"])}

    def logits(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B C"]:
        """A score for each choice; one that a question does not have cannot win."""
        count = self.choices or 2
        scores = self.scores_of(model, batch, dropout_keys, segments=count)[:, :, 0]
        there = batch.segments.max(-1, keepdims=True) >= jnp.arange(1, count + 1)[None, :]
        return jnp.where(there, scores, NOWHERE)

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        return likelihood_terms(self.logits(model, batch, dropout_keys)[:, None], batch.labels, "choice")

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """`logits` [B, C]."""
        return {"logits": self.logits(model, batch, None)}


@dataclass(frozen=True)
class Contrast(TaskObjective):
    """Texts as vectors: a text is to be nearer to its own partner than to those of all other rows of the batch.

        loss = mean over rows i of -log softmax_j(cos(x_i, y_j) / temperature)[i]

    The partner may be the text itself under other dropout (SimCSE, Gao et al., arXiv:2104.08821); a third segment is a hard
    negative. Every row is compared with the whole batch, so `accumulate` must be 1.
    """

    temperature: float = 0.05
    """What cosines are divided by."""
    segments: int | None = None
    """Texts of a row, 2 or 3; the task decides it when a run begins."""

    needs: ClassVar[tuple[str, ...]] = ("similarity",)

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature} must be positive, such as 0.05")

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> Any:
        return task_model(self.stack, config, 0, self.pools, pooler=self.has_pooler, rngs=rngs)

    def sizes(self, task: Any, row: Row) -> dict[str, Any]:
        return {"segments": int(row.segments.max())}

    def vectors(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Float[Array, "B P D"]:
        """The texts of each row as vectors of length 1, float32."""
        states = self.states(model, batch, dropout_keys)
        found = model.summed_up(states, batch.segments, self.segments or 2).astype(jnp.float32)
        return found / jnp.maximum(jnp.linalg.norm(found, axis=-1, keepdims=True), 1e-12)

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        found = self.vectors(model, batch, dropout_keys)
        rows = found.shape[0]
        partners = jnp.moveaxis(found[:, 1:], 1, 0).reshape(-1, found.shape[-1])  # partners first, then hard negatives
        weights = batch.labels["pair_weights"]
        logits = found[:, 0] @ partners.T / self.temperature
        real = jnp.tile(weights[:, 0] > 0, partners.shape[0] // rows)
        logits = jnp.where(real[None, :], logits, NOWHERE)[:, None]
        targets = jnp.arange(rows, dtype=jnp.int32)[:, None]
        return likelihood_terms(logits, {"pair_targets": targets, "pair_weights": weights}, "pair")

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """`vectors` [B, P, D]."""
        return {"vectors": self.vectors(model, batch, None)}
