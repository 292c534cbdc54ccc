"""Objectives of tasks: a head on a stack, and how its scores are read against the labels of a batch.

Each has a term whose targets and weights the rows of data/tasks bring along; what a model answers is `predict`, whose arrays
the evaluator collects over all held-out rows.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from data.batch import Batch, Row
from kernels.cross_entropy import cross_entropy_and_log_sum, is_highest, regularised
from kernels.dropout import fold
from model.config import TransformerConfig
from model.pooling import Pooling
from model.task_models import StackKind, TaskHead, task_model
from train.objectives.interface import Measured

SECOND_LOOK = 5  # a word that parts the dropout of R-Drop's second pass from that of the first
NOWHERE = -1e9  # the score of a place that cannot be an answer


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
        logits = self.scores_of(model, batch, dropout_keys)
        kept = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        if dropout_keys is None:
            kept = {}  # held-out losses are plain
        seen = likelihood_terms(logits, batch.labels, "label", **kept)
        if not self.r_drop or dropout_keys is None:
            return seen
        again = self.scores_of(model, batch, fold(dropout_keys, SECOND_LOOK))
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
        logits, targets = self.scores_of(model, batch, dropout_keys)[:, 0], batch.labels["label_targets"][:, 0]
        loss = (jax.nn.softplus(logits) - targets * logits).mean(-1)
        weights = batch.labels["label_weights"][:, 0]
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
        values = self.scores_of(model, batch, dropout_keys)[:, 0, 0]
        weights = batch.labels["label_weights"][:, 0]
        squares = (values - batch.labels["label_targets"][:, 0]) ** 2
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
        return task_model(self.stack, config, 2, None, answers=True, rngs=rngs)

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
        return task_model(self.stack, config, 1, self.pools, pooler=self.has_pooler, rngs=rngs)

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
