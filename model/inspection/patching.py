"""Which places carry what a model knows: values of one run put into another, one place at a time.

Activation patching: Meng et al., arXiv:2202.05262, as causal tracing; the form and its pitfalls: Zhang and Nanda,
arXiv:2309.16042. Attribution patching: Nanda 2023; Syed et al., arXiv:2310.10348. Path patching: Wang et al., arXiv:2211.00593.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model.capture import Change, Plan, Probe, SiteError, attach
from model.encoder_decoder import EncoderDecoder
from model.inspection.calls import Inputs, Metric, capture, gradients, measure
from model.inspection.edits import check_same_places
from model.inspection.kept import Kept
from model.inspection.metrics import of_hidden
from model.inspection.named import NamedArray

PARTS = ("residual", "attention.output", "mlp.output", "attention.mixed")


def patch_grid(
    model: nnx.Module,
    inputs: Inputs,
    source: Mapping[str, np.ndarray | Array],
    metric: Metric,
    *,
    part: str = "residual",
    chunk: int = 64,
) -> NamedArray:
    """The metric when one layer and one position at a time has the value that it had in another run.

    One compiled program serves all cells: it starts at the patched layer, whose number is an input, from the stream that was
    there without a patch, and runs `chunk` cells as the rows of one batch.

    Args:
        model: a stack, or an encoder-decoder, whose decoder is patched.
        inputs: the run that is patched, of one example.
        source: the sites `layers.*.PART` of the other run, [1 T ...] each; an encoder-decoder's begin with decoder.
        metric: scores [B T V] to one number for each example [B].
        part: "residual", "attention.output" or "mlp.output" by position, or "attention.mixed" by head, at all positions.
        chunk: cells in a batch; fewer need less memory.

    Returns:
        float32 [L T] with the axes layer and position, or [L N] with layer and head.

    Raises:
        SiteError: another part, a site that `source` lacks, several texts, texts of other lengths.
    """
    if part not in PARTS:
        raise SiteError(f"a grid of {part!r} is unknown; use one of {', '.join(PARTS)}")
    _check_one(inputs)
    side = "decoder." if isinstance(model, EncoderDecoder) else ""
    stack: Any = model.decoder if isinstance(model, EncoderDecoder) else model
    streams = (f"{side}embeddings.output", f"{side}layers.*.residual")
    _, kept = capture(model, inputs, Plan(streams))
    entering = [kept[streams[0]], *(kept[f"{side}layers.{n}.residual"] for n in range(stack.num_layers))]
    values = [_value(source, f"{side}layers.{n}.{part}", kept, streams[0]) for n in range(stack.num_layers)]
    encoded = _encoded(model, inputs) if isinstance(model, EncoderDecoder) else None
    by_head = part == "attention.mixed"
    number = values[0].shape[2] if by_head else values[0].shape[1]
    chunk = min(chunk, number)
    places = np.arange(-(-number // chunk) * chunk).reshape(-1, chunk)
    graph, params = nnx.split(model)
    rows = []
    for layer in range(stack.num_layers):
        x = entering[layer + 1] if part == "residual" else entering[layer]
        cells = [
            _cells(graph, params, inputs, encoded, metric, part, x, values[layer], jnp.int32(layer), jnp.asarray(some))
            for some in places
        ]
        rows.append(np.concatenate([np.asarray(one, np.float32) for one in cells])[:number])
    return NamedArray(np.stack(rows), ("layer", "head" if by_head else "position"))


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _cells(
    graph, params, inputs: Inputs, encoded, metric: Metric, part: str, x, value, layer, places
) -> Float[Array, " C"]:
    """The metric of each of C cells of one layer."""
    model: Any = nnx.merge(graph, params)
    stack = model.decoder if isinstance(model, EncoderDecoder) else model
    count = places.shape[0]

    def repeated(array: Array) -> Array:
        return jnp.broadcast_to(array, (count, *array.shape[1:]))

    shared: dict[str, Any] = {"positions": repeated(inputs.positions), "segments": repeated(inputs.segments)}
    if encoded is not None:
        shared |= {"source": repeated(encoded), "source_segments": repeated(inputs.source_segments)}
    if part == "residual":
        where = places[:, None, None] == jnp.arange(x.shape[1])[None, :, None]
        hidden = stack.run_from(jnp.where(where, value, repeated(x)), layer + 1, **shared)
    else:
        axis = 2 if part == "attention.mixed" else 1
        across = jnp.arange(value.shape[axis]).reshape(1, *(-1 if n == axis else 1 for n in range(1, value.ndim)))
        where = places.reshape(count, *(1,) * (value.ndim - 1)) == across
        probe = Probe(Plan((), ((f"layers.{part}", "set"),)), [Change(where, value)])
        hidden = stack.run_from(repeated(x), layer, **shared, first=lambda block: attach(block, probe, "layers"))
    return of_hidden(metric, model, hidden, shared["segments"])


def _encoded(model: EncoderDecoder, inputs: Inputs) -> Array:
    side = (inputs.source_tokens, inputs.source_positions, inputs.source_segments)
    return model.encode(*(jnp.asarray(array) for array in side))


def attribution_patch(
    model: nnx.Module,
    inputs: Inputs,
    source: Mapping[str, np.ndarray | Array],
    metric: Metric,
    *,
    part: str = "residual",
) -> NamedArray:
    """The grid to first order, from one gradient: sum over features of (value there - value here) * d metric / d value.

    What is returned estimates `patch_grid` less the metric without a patch: [L T], or [L N] for "attention.mixed". It takes
    and refuses what `patch_grid` does.
    """
    if part not in PARTS:
        raise SiteError(f"a grid of {part!r} is unknown; use one of {', '.join(PARTS)}")
    _check_one(inputs)
    side = "decoder." if isinstance(model, EncoderDecoder) else ""
    _, here, slopes = gradients(model, inputs, metric, [f"{side}layers.*.{part}"])
    rows = []
    for layer in range(len(here)):
        site = f"{side}layers.{layer}.{part}"
        effect = (np.asarray(_value(source, site, here, site)) - np.asarray(here[site])) * np.asarray(slopes[site])
        rows.append(effect.sum(axis=(0, 1, 3)) if part == "attention.mixed" else effect.sum(axis=(0, 2)))
    return NamedArray(np.stack(rows), ("layer", "head" if part == "attention.mixed" else "position"))


def path_patch(
    model: nnx.Module,
    inputs: Inputs,
    other: Inputs,
    metric: Metric,
    *,
    senders: Sequence[tuple[int, int]],
    receivers: Sequence[str],
) -> Float[np.ndarray, " B"]:
    """The metric when receivers hear senders as they were in another run, along the direct path between them alone.

    First the run of `inputs` is repeated with the senders' outputs from `other` and all other heads as they were, so that what
    reaches the receivers changes by the senders' own share (and what MLPs make of it); then the receivers take what they
    would have had there, and everything after them is computed anew.

    Args:
        senders: heads, (layer, head) each.
        receivers: sites, as `layers.5.attention.queries`, or a last one as `layers.11.residual`.

    Several texts are patched each with its own of `other`, which has as many, of the same lengths; SiteError otherwise.
    """
    heads, out = "layers.*.attention.mixed", tuple(receivers)
    _, here = capture(model, inputs, Plan((heads,)))
    _, there = capture(model, other, Plan((heads,)))
    edits, changes = [], []
    for site in here:
        check_same_places(site, there, here)
    for site, value in here.items():
        layer = int(site.split(".")[1])
        chosen = np.isin(np.arange(value.shape[2]), [head for number, head in senders if number == layer])
        edits.append((site, "set"))
        changes.append(Change(jnp.ones((), bool), jnp.where(chosen[None, None, :, None], there[site], value)))
    _, heard = capture(model, inputs, Plan(out, tuple(edits)), changes)
    again = [Change(jnp.ones((), bool), heard[site]) for site in heard]
    return np.asarray(measure(model, inputs, metric, [(site, "set") for site in heard], again), np.float32)


def _check_one(inputs: Inputs) -> None:
    """SiteError unless the inputs are one text."""
    if inputs.tokens is None:
        raise SiteError("a grid needs text; images are patched one site at a time, by edits and measure")
    if len(inputs.tokens) != 1:
        raise SiteError(f"a grid is of one text, and these are {len(inputs.tokens)}; make one for each")


def _value(source: Mapping[str, np.ndarray | Array], site: str, here: Kept, like: str) -> Array:
    """What a site had in the other run, which has as many tokens as `like` has here."""
    if site not in source:
        raise SiteError(
            f"the other run did not keep {site}; inspect it with keep=[{site!r}] or a pattern that meets it"
        )
    value, length = jnp.asarray(source[site]), here[like].shape[1]
    if value.shape[0] != 1:
        raise SiteError(f"the other run is of {value.shape[0]} texts and a grid of one; pass one, as .of(0).raw")
    if value.shape[1] != length:
        raise SiteError(
            f"the other run has {value.shape[1]} tokens and this one {length}; a grid needs texts of equal length"
        )
    return value
