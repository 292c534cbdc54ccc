"""Models called under a plan: one compiled program for a plan and a shape, values of changes being its inputs."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Shaped

from model.capture import Change, Operation, Plan, SiteError, captured, shapes
from model.decoder import Decoder
from model.encoder import Encoder
from model.encoder_decoder import EncoderDecoder
from model.inspection.kept import Kept
from model.inspection.metrics import of_hidden
from model.task_models import TaskHead
from model.vision import VisionTransformer

LIMIT = 4 << 30  # bytes of activations that are kept without being asked twice
Metric = Callable[[Any], Any]
Metrics = Metric | tuple[Metric, ...]  # one of all examples, or one for each


class Inputs(NamedTuple):
    """What a model reads; segment 0 is padding.

    Attributes:
        tokens: [B T], or the decoder's tokens where there is a source.
        positions: [B T], each token's place.
        segments: [B T].
        token_types: [B T], for encoders that have them.
        prefix: [B T], tokens that see each other in both directions.
        source_tokens: [B S], the encoder's, as the next two.
        images: [B C Y X], in the place of everything else.
    """

    tokens: Any = None
    positions: Any = None
    segments: Any = None
    token_types: Any = None
    prefix: Any = None
    source_tokens: Any = None
    source_positions: Any = None
    source_segments: Any = None
    images: Any = None


def text_inputs(rows: Sequence[np.ndarray], sources: Sequence[np.ndarray] = ()) -> Inputs:
    """Rows of ids as inputs, padded to the longest on the right; with `sources` the rows are what a decoder reads.

    >>> text_inputs([np.array([5, 6, 7]), np.array([8])]).segments.tolist()
    [[1, 1, 1], [1, 0, 0]]
    """
    tokens, positions, segments = _padded(rows)
    if not sources:
        return Inputs(tokens, positions, segments)
    return Inputs(tokens, positions, segments, None, None, *_padded(sources))


def hidden_states(model: Any, inputs: Inputs) -> Float[Array, "B T D"]:
    """The last hidden state of every place; of the decoder where there are two sides."""
    inputs = jax.tree.map(jnp.asarray, inputs)
    text = (inputs.tokens, inputs.positions, inputs.segments)
    match model:
        case VisionTransformer():
            return model(inputs.images)
        case EncoderDecoder():
            return model(
                *text, **{name: getattr(inputs, name) for name in Inputs._fields if name.startswith("source_")}
            )
        case TaskHead():
            return model.states(*text, inputs.token_types)
        case Decoder():
            return model(*text, prefix=inputs.prefix)
        case Encoder():
            return model(*text, inputs.token_types)
    raise TypeError(f"a {type(model).__name__} cannot be called for its activations")


def forward(model: Any, inputs: Inputs) -> Float[Array, "B ..."]:
    """Scores of every token at every place, of classes for images and tasks; hidden states of a model without a head."""
    hidden = hidden_states(model, inputs)
    if isinstance(model, VisionTransformer):
        return hidden if model.classifier is None else model.predict_class(hidden)
    if isinstance(model, TaskHead):
        summed = model.summed_up(hidden, jnp.asarray(inputs.segments))
        return summed if model.head is None else model.classify(summed)
    return model.predict_tokens(hidden) if hasattr(model, "predict_tokens") else hidden


def output_axes(model: Any) -> tuple[str, ...]:
    """What the axes of `forward` mean."""
    match model:
        case VisionTransformer():
            return ("example", "position", "feature") if model.classifier is None else ("example", "label")
        case TaskHead():
            places = "position" if model.pooling is None else "segment"
            return ("example", places, "feature" if model.head is None else "label")
    return ("example", "position", "token" if hasattr(model, "predict_tokens") else "feature")


def measure(
    model: nnx.Module,
    inputs: Inputs,
    metric: Metrics,
    edits: Sequence[tuple[str, Operation]] = (),
    changes: Sequence[Change] = (),
) -> Float[Array, " B"]:
    """A metric of one call, with sites changed where `edits` say so.

    `metric` takes the scores of all examples [B T V], padding included, to a number for each [B]; or it is a tuple of one for
    each example, and takes the scores of its text alone, [1 T V], without padding. ValueError for a position outside a text.
    """
    return _measured(*nnx.split(model), inputs, asked(model, inputs, metric), tuple(edits), tuple(changes))


class Asked(NamedTuple):
    """A metric of some examples, and how many places of them it is shown; None is all."""

    metric: Metric
    rows: tuple[int, ...] | None = None
    length: int | None = None


def asked(model: nnx.Module, inputs: Inputs, metric: Metrics) -> tuple[Asked, ...]:
    """Which metric is asked of which examples: one call for those that share metric and length."""
    ends = None if inputs.segments is None else _ends(np.asarray(inputs.segments))
    count = len(inputs.images if inputs.tokens is None else inputs.tokens)
    several = isinstance(metric, tuple)
    metrics: tuple[Any, ...] = metric if isinstance(metric, tuple) else (metric,) * count
    if len(metrics) != count:
        raise ValueError(f"{len(metrics)} metrics for {count} texts; give one for each, or one for all")
    pooled = isinstance(model, TaskHead) and model.pooling is not None
    for one, end in zip(metrics, [] if ends is None or pooled else ends, strict=False):
        if hasattr(one, "at") and not -end <= one.position < end:
            raise ValueError(f"there is no position {one.position}; the text has {end} tokens, 0 to {end - 1}")
    if not several:
        return (Asked(metric),)
    groups: dict[tuple[Any, int | None], list[int]] = {}
    for row, one in enumerate(metrics):
        cut = None if ends is None or pooled or hasattr(one, "at") else int(ends[row])
        groups.setdefault((one, cut), []).append(row)
    return tuple(Asked(one, tuple(rows), cut) for (one, cut), rows in groups.items())


def capture(
    model: nnx.Module, inputs: Inputs, plan: Plan, changes: Sequence[Change] = (), *, limit: int = LIMIT
) -> tuple[Array, Kept]:
    """What `forward` gives and the sites that the plan keeps. SiteError where they take more than `limit` bytes, beforehand."""
    wanted = sites(model, inputs, plan)
    check_price(wanted, limit)
    out, kept = _captured(*nnx.split(model), inputs, plan, tuple(changes))
    return out, Kept({site: kept[site] for site in wanted}, inputs.segments, inputs.source_segments)


def sites(model: nnx.Module, inputs: Inputs, plan: Plan = Plan(("*",))) -> Kept:
    """The sites that a plan without edits keeps, as shapes and types; nothing is computed."""
    kept = Plan(plan.keep)
    key = (nnx.graphdef(model), kept, tuple(None if x is None else (x.shape, str(x.dtype)) for x in inputs))
    if key not in _SHAPES:
        _SHAPES[key] = shapes(model, lambda model: forward(model, inputs), kept)
    return Kept(_SHAPES[key], inputs.segments, inputs.source_segments)


def price(found: Mapping[str, jax.ShapeDtypeStruct]) -> int:
    """Bytes of some sites.

    >>> price({"a": jax.ShapeDtypeStruct((2, 3), jnp.float32)})
    24
    """
    return sum(math.prod(shape.shape) * shape.dtype.itemsize for shape in found.values())


def check_price(found: Mapping[str, jax.ShapeDtypeStruct], limit: int) -> None:
    """SiteError if some sites take more than `limit` bytes."""
    if (bytes_ := price(found)) > limit:
        largest = max(found, key=lambda site: price({site: found[site]}))
        raise SiteError(
            f"keeping these {len(found)} sites takes {said(bytes_)}, {largest} alone {said(price({largest: found[largest]}))}; "
            f"keep fewer, or pass limit={bytes_} (bytes; now {said(limit)})"
        )


def said(bytes_: int | float) -> str:
    """Bytes for a reader.

    >>> said(1536), said(3)
    ('1.5 KB', '3 B')
    """
    for unit in ("B", "KB", "MB", "GB"):
        if bytes_ < 1024 or unit == "GB":
            break
        bytes_ /= 1024
    return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"


def gradients(
    model: nnx.Module,
    inputs: Inputs,
    metric: Metrics,
    keep: Sequence[str],
    edits: Sequence[tuple[str, Operation]] = (),
    changes: Sequence[Change] = (),
) -> tuple[Array, Kept, Kept]:
    """(metric, activations, gradients of its sum) at the sites that `keep` names, behind the edits.

    `metric`, `edits` and `changes` are those of `measure`.
    """
    plan = Plan(tuple(keep))
    wanted = sites(model, inputs, plan)
    check_price(wanted, LIMIT // 2)
    zeros = {site: jnp.zeros(shape.shape, shape.dtype) for site, shape in wanted.items()}
    questions = asked(model, inputs, metric)
    values, here, slopes = _gradients(*nnx.split(model), inputs, questions, zeros, tuple(edits), tuple(changes))
    sides = (inputs.segments, inputs.source_segments)
    return (
        values,
        Kept({site: here[site] for site in wanted}, *sides),
        Kept({site: slopes[site] for site in wanted}, *sides),
    )


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _measured(graph, params, inputs: Inputs, questions: tuple, edits: tuple, changes: tuple[Change, ...]):
    model = nnx.merge(graph, params)
    return captured(model, lambda model: _answers(questions, model, inputs), Plan((), edits), changes)[0]


def _answers(questions: Sequence[Asked], model: Any, inputs: Inputs) -> Float[Array, " B"]:
    """What metrics say of their examples, in the order of the examples."""
    hidden, segments = hidden_states(model, inputs), inputs.segments
    if questions[0].rows is None:
        return of_hidden(questions[0].metric, model, hidden, segments)
    found = []
    for metric, rows, length in questions:
        chosen = np.asarray(rows)
        own = None if segments is None else jnp.asarray(segments)[chosen, :length]
        found.append(of_hidden(metric, model, hidden[chosen, :length], own))
    order = np.argsort(np.concatenate([np.asarray(question.rows) for question in questions]))
    return jnp.concatenate(found)[order]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _captured(graph, params, inputs: Inputs, plan: Plan, changes: tuple[Change, ...]):
    return captured(nnx.merge(graph, params), lambda model: forward(model, inputs), plan, changes)


@functools.partial(jax.jit, static_argnums=(0, 3, 5))
def _gradients(graph, params, inputs: Inputs, questions: tuple, zeros: dict[str, Array], edits: tuple, changes: tuple):
    added: dict[str, Operation] = dict.fromkeys(zeros, "add")
    plan = Plan(tuple(zeros), (*edits, *added.items()))  # what is added, nothing, is what the derivative is taken by

    def value(zeros):
        nothing = [Change(jnp.ones((), bool), zero) for zero in zeros.values()]
        model = nnx.merge(graph, params)
        values, kept = captured(model, lambda model: _answers(questions, model, inputs), plan, [*changes, *nothing])
        return values.sum(), (values, kept)

    slopes, (values, kept) = jax.grad(value, has_aux=True)(zeros)
    return values, kept, slopes


def _ends(segments: np.ndarray) -> np.ndarray:
    """How many places of each row reach to its last token."""
    return np.where(segments > 0, np.arange(1, segments.shape[1] + 1), 0).max(1)


def _padded(rows: Sequence[np.ndarray]) -> tuple[Shaped[np.ndarray, "B T"], ...]:
    length = max(len(row) for row in rows)
    tokens, segments = np.zeros((2, len(rows), length), np.int32)
    for number, row in enumerate(rows):
        tokens[number, : len(row)], segments[number, : len(row)] = row, 1
    return tokens, np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape), segments


_SHAPES: dict[Any, dict[str, jax.ShapeDtypeStruct]] = {}
