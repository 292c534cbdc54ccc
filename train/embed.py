"""Vectors of texts: python -m train.embed RUN_OR_DIR --text TEXT [--text TEXT ...]

Prints a line of JSON for each text, {"text": ..., "embedding": [...]}; `--out FILE.npy` writes them as one float32 array
[texts, D] instead. From Python: `embed(open_any("runs/bert_tiny"), ["A text.", "Another."])`.
"""

import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data.errors import named
from train import cli
from train.command import configure_jax, new_file, start
from train.memory import keep_freed_memory

if TYPE_CHECKING:
    from train.pretrained import Opened

Pooling = Literal["mean", "cls", "last"]
TOGETHER = 32  # texts in one call


class EmbedError(ValueError):
    """A text or a model that has no such vector; the message is one line with the remedy."""

    exit_code = 2


@dataclass(frozen=True)
class EmbedOptions:
    """What `train.embed` takes beside the model."""

    text: tuple[str, ...] = ()
    """A text; may be given several times."""
    pooling: Pooling = "mean"
    """"mean" of the last hidden states of all tokens, marks included; "cls": that of the first; "last": of the last."""
    normalize: bool = True
    """Whether vectors are brought to length 1, so that a product of two is their cosine."""
    out: str | None = None
    """Write a .npy file [texts, D] in the place of lines of JSON."""
    step: int | None = None
    """The checkpoint of a run; None: the newest."""
    base: str | None = None
    """Where the base lies that a run with --peft was trained on, if it has been moved."""
    mesh: str = ""
    """Devices along each kind of parallelism, as data=2,fsdp=2; empty: all of them along data."""


def embed(opened: "Opened", texts: Sequence[str], pooling: Pooling = "mean", *, normalize: bool = True) -> np.ndarray:
    """A vector for each text, float32 [texts, D], from the last hidden states of its tokens (Reimers and Gurevych,
    arXiv:1908.10084, section 3). An encoder-decoder's are those of its encoder.

    Texts of like length are computed together, so that few shapes are compiled; what a vector is does not depend on that.

    Raises:
        EmbedError: a text is empty or too long, or the model has no vector of this kind.
    """
    import jax
    from flax import nnx

    from model.decoder import LanguageModel
    from model.ragged import bucket, padded, places

    rows = [_ids(opened, text) for text in texts]
    if isinstance(opened.model, LanguageModel) and pooling == "cls":
        raise EmbedError('the first token of a decoder has seen nothing but itself; use pooling "mean" or "last"')
    room = places(opened.model)
    for row in rows:
        if room is not None and len(row) > room:
            raise EmbedError(
                f"a text has {len(row)} tokens, and the model has {room} positions; shorten it by {len(row) - room}"
            )
    graph, params = nnx.split(opened.model)
    found = np.zeros((len(rows), opened.config.hidden_size), np.float32)
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    for begin in range(0, len(order), TOGETHER):
        chosen = order[begin : begin + TOGETHER]
        length = bucket(len(rows[chosen[-1]]))
        length = length if room is None else min(length, room)
        side = padded([rows[n] for n in chosen], bucket(len(chosen), 1), length, left=False)
        vectors = _compiled()(graph, pooling, params, side)
        found[chosen] = np.asarray(jax.device_get(vectors), np.float32)[: len(chosen)]
    if normalize:
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return found


@functools.cache
def _compiled() -> Any:
    """The function that makes vectors of a padded batch, compiled for each shape; here, for JAX comes late."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from model.encoder_decoder import EncoderDecoder

    def pooled(graph, pooling: Pooling, params, side):
        model = nnx.merge(graph, params)
        hidden = (model.encode if isinstance(model, EncoderDecoder) else model)(*side).astype(jnp.float32)
        real = side.segments[:, :, None] > 0
        match pooling:
            case "mean":
                return jnp.where(real, hidden, 0.0).sum(1) / jnp.maximum(real.sum(1), 1)
            case "cls":
                return hidden[:, 0]
            case "last":
                last = jnp.maximum(side.segments.sum(1) - 1, 0)
                return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]

    return jax.jit(pooled, static_argnums=(0, 1))


def _ids(opened: "Opened", text: str) -> np.ndarray:
    from model.decoder import LanguageModel
    from model.encoder import Encoder
    from model.encoder_decoder import EncoderDecoder
    from train.prompts import manner_of, tokenizer_of

    if not isinstance(opened.model, LanguageModel | EncoderDecoder | Encoder):
        raise EmbedError(f"{opened.name} is a {type(opened.model).__name__}, which reads no text; name a model of text")
    tokenizer = tokenizer_of(opened)
    if isinstance(opened.model, Encoder):
        ids = tokenizer.encode(text, special_tokens=True)
    else:
        manner = manner_of(opened)
        ids = np.concatenate([manner.opening, tokenizer.encode(text), manner.closing]).astype(np.int32)
    if not len(ids) or not text.strip():
        raise EmbedError("a text is empty; give --text some words")
    return ids


def main() -> int:
    """The command; returns its exit code."""
    keep_freed_memory()
    request = cli.parse_model(sys.argv[1:], command="embed", options=EmbedOptions, texts=("text",))
    options = request.options
    if not options.text:
        raise EmbedError("which text? add --text TEXT, in quotes; as often as there are texts")
    if options.out is not None and not options.out.endswith(".npy"):
        raise EmbedError(f"--out {options.out} does not end with .npy, which is what is written; name FILE.npy")
    out = None if options.out is None else new_file("--out", options.out)
    configure_jax()
    from train.pretrained import open_any

    opened = open_any(request.path, step=options.step, mesh=options.mesh, base=options.base)
    vectors = embed(opened, options.text, options.pooling, normalize=options.normalize)
    if out is not None:
        with named(out), out.open("xb") as file:
            np.save(file, vectors)
        print(f"{len(vectors)} x {vectors.shape[1]} float32 written to {out}")
        return 0
    for text, vector in zip(options.text, vectors, strict=True):
        print(json.dumps({"text": text, "embedding": [float(f"{value:.7g}") for value in vector]}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    start(main)
