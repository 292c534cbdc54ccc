"""Objectives of tasks: classes and numbers for texts, tags for words, the ends of an answer."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch
from kernels.cross_entropy import cross_entropy_and_log_sum, is_highest
from kernels.dropout import fold
from model.config import TransformerConfig
from model.task_models import task_model
from train.objectives.interface import Measured
from train.objectives.with_head import NOWHERE, TaskObjective, likelihood_terms

SECOND_LOOK = 5  # a word that parts the dropout of R-Drop's second pass from that of the first


@dataclass(frozen=True)
class Classify(TaskObjective):
    """One of several classes for a text, or for a pair of texts.

        loss = mean over texts of -w[y] log p(y | text)

    References: Devlin et al., arXiv:1810.04805, section 4.1; R-Drop: Wu et al., arXiv:2106.14448.
    """

    label_smoothing: float = 0.0
    """Share of each target that is spread over the classes (arXiv:1512.00567)."""
    class_weights: tuple[float, ...] = ()
    """Weight w of each class in the loss, in the order of the labels; none: all alike."""
    r_drop: float = 0.0
    """Weight of the symmetric divergence between two passes with other dropout (R-Drop: 1 to 5); 0: one pass."""

    needs: ClassVar[tuple[str, ...]] = ("classification",)

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing} must lie in [0, 1), such as 0.1")
        if not 0 <= self.r_drop < math.inf:
            raise ValueError(f"r_drop={self.r_drop} must be 0 or more, such as 1.0")
        if any(not 0 <= weight < math.inf for weight in self.class_weights):
            raise ValueError(f"class_weights={self.class_weights} must be 0 or more")
        if self.class_weights and self.outputs is not None and len(self.class_weights) != self.outputs:
            raise ValueError(f"class_weights has {len(self.class_weights)} values for {self.outputs} classes")

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        texts = batch.labels["label_targets"].shape[1]
        logits = self.scores_of(model, batch, dropout_keys, texts)
        kept = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        if dropout_keys is None:
            kept = {}  # held-out losses are plain
        seen = likelihood_terms(logits, batch.labels, "label", **kept)
        if not self.r_drop or dropout_keys is None:
            return seen
        again = self.scores_of(model, batch, fold(dropout_keys, SECOND_LOOK), texts)
        second = likelihood_terms(again, batch.labels, "label", **kept)
        weights = batch.labels["label_weights"]
        apart = self.r_drop * (divergence(logits, again) * weights).sum()
        (one, count), (other, _) = seen.terms["label"], second.terms["label"]
        return Measured({"label": (0.5 * (one + other) + apart, count)}, seen.metrics | {"r_drop": (apart, count)})

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """`logits` [B, C]."""
        return {"logits": self.scores_of(model, batch, None)[:, 0]}


def divergence(one: Float[Array, "B K C"], other: Float[Array, "B K C"]) -> Float[Array, "B K"]:
    """Half the sum of the two Kullback-Leibler divergences between two sets of class probabilities, in nats.

    1/2 (KL(p || q) + KL(q || p)) = 1/2 sum_c (p_c - q_c) (log p_c - log q_c)
    """
    p, q = jax.nn.log_softmax(one), jax.nn.log_softmax(other)
    return 0.5 * ((jnp.exp(p) - jnp.exp(q)) * (p - q)).sum(-1)


@dataclass(frozen=True)
class ClassifyMany(TaskObjective):
    """Any number of classes for a text, each yes or no by itself.

    loss = mean over texts, and sum over classes / C, of the binary cross entropy
    """

    needs: ClassVar[tuple[str, ...]] = ("multi_label",)

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        targets, weights = batch.labels["label_targets"], batch.labels["label_weights"]
        logits = self.scores_of(model, batch, dropout_keys, targets.shape[1])
        loss = (jax.nn.softplus(logits) - targets * logits).mean(-1)
        correct = ((logits > 0) == (targets > 0.5)).astype(jnp.float32).mean(-1)
        count = weights.sum()
        return Measured({"label": ((loss * weights).sum(), count)}, {"accuracy": ((correct * weights).sum(), count)})

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """`logits` [B, C]; a class is present where its logit is above 0."""
        return {"logits": self.scores_of(model, batch, None)[:, 0]}


@dataclass(frozen=True)
class Regress(TaskObjective):
    """One number for a text or a pair: loss = mean squared error."""

    needs: ClassVar[tuple[str, ...]] = ("regression",)

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        targets, weights = batch.labels["label_targets"], batch.labels["label_weights"]
        squares = (self.scores_of(model, batch, dropout_keys, targets.shape[1])[:, :, 0] - targets) ** 2
        return Measured({"label": ((squares * weights).sum(), weights.sum())}, {})

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """`values` [B]."""
        return {"values": self.scores_of(model, batch, None)[:, 0, 0]}


@dataclass(frozen=True)
class TagTokens(TaskObjective):
    """A class for every word, read from the first of its tokens.

        loss = mean over words of -log p(tag | text)

    Reference: Devlin et al., arXiv:1810.04805, section 5.3.
    """

    label_smoothing: float = 0.0
    """Share of each target that is spread over the tags (arXiv:1512.00567)."""

    needs: ClassVar[tuple[str, ...]] = ("tagging",)
    by_token: ClassVar[bool] = True

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        smoothing = 0.0 if dropout_keys is None else self.label_smoothing
        logits = self.scores_of(model, batch, dropout_keys)
        return likelihood_terms(logits, batch.labels, "tag", label_smoothing=smoothing)

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """`logits` [B, T, C]."""
        return {"logits": self.scores_of(model, batch, None)}


@dataclass(frozen=True)
class FindAnswers(TaskObjective):
    """Where in a context the answer to a question begins and ends; the first token stands for no answer.

        loss = mean over windows of -1/2 (log p(start | row) + log p(end | row))

    Places of padding have no share. Reference: Devlin et al., arXiv:1810.04805, sections 4.2 and 4.3.
    """

    needs: ClassVar[tuple[str, ...]] = ("answers",)
    by_token: ClassVar[bool] = True

    def build(self, config: TransformerConfig, rngs: nnx.Rngs) -> Any:
        return task_model(self.stack, config, 2, None, kind="ends", rngs=rngs)

    def ends(
        self, model: Any, batch: Batch, dropout_keys: Array | None
    ) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
        """Scores of each place to be the first and the last of the answer."""
        scores = jnp.where(batch.segments[:, :, None] > 0, self.scores_of(model, batch, dropout_keys), NOWHERE)
        return scores[:, :, 0], scores[:, :, 1]

    def measure(self, model: Any, batch: Batch, dropout_keys: Array | None) -> Measured:
        terms, right = {}, None
        for name, scores in zip(("start", "end"), self.ends(model, batch, dropout_keys), strict=True):
            targets, weights = batch.labels[f"{name}_targets"], batch.labels[f"{name}_weights"]
            loss, _ = cross_entropy_and_log_sum(scores[:, None], targets)
            terms[name] = (0.5 * (loss * weights).sum(), weights.sum())
            correct = is_highest(scores[:, None], targets)
            right = correct if right is None else right & correct
        assert right is not None
        weights = batch.labels["start_weights"]
        return Measured(terms, {"accuracy": ((right * weights).sum(), weights.sum())})

    def predict(self, model: Any, batch: Batch) -> dict[str, Array]:
        """`start` and `end` [B, T]."""
        start, end = self.ends(model, batch, None)
        return {"start": start, "end": end}
