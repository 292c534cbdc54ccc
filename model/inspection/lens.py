"""What the residual stream would predict if the model stopped there: the logit lens, its norm recomputed at each layer.

    logits_l = head(norm(x_l)),   x_l the stream after layer l

The last norm is applied as the model would apply it, with the statistics of x_l itself; so each layer gets a prediction of its
own, and these do not add up. What adds up is `model/inspection/logit_attribution.py`, whose norm is frozen.
Reference: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.inspection.per_text import how_many
from model.linear import Embedding
from model.transformer import Transformer

Scoring = LanguageModel | MaskedLanguageModel | EncoderDecoder


class Scored(NamedTuple):
    """The half of a model whose hidden states are scored, and where its sites begin."""

    stack: Transformer
    prefix: str


def scored_stack(model: nnx.Module) -> Scored:
    """The stack that the token head stands on: the decoder, where there is an encoder too. ValueError without such a head."""
    match model:
        case EncoderDecoder():
            return Scored(model.decoder, "decoder.")
        case LanguageModel() | MaskedLanguageModel():
            return Scored(model, "")
    raise ValueError(
        f"{type(model).__name__} has no head that scores tokens; lenses need a LanguageModel, a MaskedLanguageModel or an "
        "EncoderDecoder"
    )


def lens_sites(model: nnx.Module) -> tuple[str, ...]:
    """The sites that `logit_lens` reads, to capture before: the embeddings, and the stream after each layer."""
    stack, prefix = scored_stack(model)
    return (f"{prefix}embeddings.output", *(f"{prefix}layers.{number}.residual" for number in range(stack.num_layers)))


@dataclass(frozen=True, eq=False)
class LogitLens:
    """Logits of every token of the vocabulary after the embeddings and after each layer.

    Attributes:
        names: what each of the E rows was read after, "embeddings" or a layer as "layers.3", by the path of the module.
        logits: float32 [E B T V]; the last row is the model's own.
    """

    names: tuple[str, ...]
    logits: Float[np.ndarray, "E B T V"]

    def top(self, count: int = 5) -> tuple[Int[np.ndarray, "E B T K"], Float[np.ndarray, "E B T K"]]:
        """The `count` likeliest tokens at each place and their probabilities, likeliest first."""
        probabilities = np.asarray(jax.nn.softmax(jnp.asarray(self.logits), axis=-1))
        order = np.argsort(-probabilities, axis=-1, kind="stable")[..., : how_many(count)]
        return order, np.take_along_axis(probabilities, order, -1)

    def rank(self, tokens: Int[np.ndarray, "B T"]) -> Int[np.ndarray, "E B T"]:
        """How many tokens score higher than the given one at each place: 0 where it is the prediction."""
        own = np.take_along_axis(self.logits, np.asarray(tokens)[None, ..., None], -1)
        return (self.logits > own).sum(-1)

    def probability(self, tokens: Int[np.ndarray, "B T"]) -> Float[np.ndarray, "E B T"]:
        """The probability of the given token at each place."""
        logs = np.asarray(jax.nn.log_softmax(jnp.asarray(self.logits), axis=-1))
        return np.exp(np.take_along_axis(logs, np.asarray(tokens)[None, ..., None], -1)[..., 0])


def logit_lens(model: Any, sites: Mapping[str, Any], places: Sequence[int] | slice | None = None) -> LogitLens:
    """Read the stream after the embeddings and after each layer through the last norm and the whole head.

    Args:
        model: a LanguageModel, a MaskedLanguageModel or an EncoderDecoder, whose decoder is read.
        sites: what was captured, [B T D] under the names of `lens_sites`.
        places: which of the T places; None is all. The answer holds (L + 1) B T V numbers, so a large vocabulary wants few.

    BERT's head is applied with its transform, as to the last layer. A post-norm model has no last norm: its stream is
    normalised in each block, and goes to the head as it is. At the last layer the lens is the model, whatever its form.
    ValueError for a model without such a head, and for a site that was not captured.
    """
    stack, _ = scored_stack(model)
    wanted = lens_sites(model)
    taken = slice(None) if places is None else places if isinstance(places, slice) else np.asarray(places)
    rows = []
    for site in wanted:
        stream = jnp.asarray(site_of(sites, site)[:, taken])
        stream = stream if stack.final_norm is None else stack.final_norm(stream)
        rows.append(np.asarray(model.predict_tokens(stream)))
    return LogitLens(tuple(site.rsplit(".", 1)[0] for site in wanted), np.stack(rows))


def site_of(sites: Mapping[str, Any], name: str) -> np.ndarray:
    """A captured array, in float32; ValueError that says what to capture where it is missing."""
    if name not in sites:
        raise ValueError(f"{name} was not captured; capture it too, keep=[..., {name!r}]")
    return np.asarray(sites[name], np.float32)


def output_table(model: Scoring) -> Embedding:
    """The table whose rows score tokens: the head's own, or that of the embeddings where they are tied."""
    table = model.token_head.table
    return model.embeddings.tokens if table is None else table
