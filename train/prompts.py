"""From the text of a prompt to what a model reads: ids, what a decoder begins with, and what ends a text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.segments import mark
from data.spans import start_of_spans
from data.text_pairs import start_of_target
from data.tokenizers import Tokenizer
from model.decoder import LanguageModel
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.foreign import read_json
from model.published import HubError
from model.ragged import GenerationError, places
from train.objectives import NextToken, PrefixLM, SpanCorruption
from train.pretrained import Opened

MASKS = ("[MASK]", "<mask>")  # accepted in a prompt, whatever the vocabulary calls its own


@dataclass(frozen=True)
class Manner:
    """How a model wants to be asked, as it was trained.

    Attributes:
        opening: ids before a prompt, closing: ids behind it.
        stops: ids after which a text ends.
        start: what the decoder of an encoder-decoder begins with.
        prefix: whether the tokens of a prompt see each other both ways.
    """

    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()
    stops: tuple[int, ...] = ()
    start: int | None = None
    prefix: bool = False


def tokenizer_of(opened: Opened) -> Tokenizer:
    """The tokenizer of an opened model, or an error that says where it belongs."""
    if opened.tokenizer is None:
        raise GenerationError(
            f"{opened.name} has no tokenizer; put its tokenizer.json (or vocabulary) beside its config.json"
        )
    return opened.tokenizer


def check_writes(opened: Opened) -> None:
    """GenerationError for a model that writes no text, with what it is good for."""
    if isinstance(opened.model, LanguageModel | EncoderDecoder | MaskedLanguageModel):
        return
    kind = type(opened.model).__name__
    if isinstance(opened.model, Encoder):
        raise GenerationError(
            f"{opened.name} is an encoder without a head for tokens, which writes no text; train.embed gives its embeddings"
        )
    raise GenerationError(f"{opened.name} is a {kind}, which writes no text; name a language model")


def manner_of(opened: Opened) -> Manner:
    """How a run or a published model is asked."""
    tokenizer, two_sided = tokenizer_of(opened), isinstance(opened.model, EncoderDecoder)
    special = tokenizer.special
    end = special.sep if special.eos is None else special.eos
    ends = () if end is None else (end,)
    if opened.pretrained is not None:
        folder, fields = opened.pretrained.folder, dict(opened.pretrained.fields)
        if (folder / "generation_config.json").is_file():
            fields |= {k: v for k, v in read_json(folder / "generation_config.json", HubError).items() if v is not None}
        stops = fields.get("eos_token_id")
        stops = ends if stops is None else tuple(stops) if isinstance(stops, list) else (stops,)
        start = fields.get("decoder_start_token_id")
        if strange := [index for index in (*stops, start or 0) if type(index) is not int or not 0 <= index < 2**31]:
            raise HubError(
                f"{folder} has {strange[0]!r} for eos_token_id or decoder_start_token_id, which are ids of tokens; mend its "
                "config.json and generation_config.json"
            )
        around = tokenizer.encode("", special_tokens=True)
        around = tuple(int(index) for index in around if two_sided or int(index) not in (*stops, special.sep))
        if not two_sided:
            return Manner(opening=around, stops=stops)
        start = start_of_target(special) if start is None else start
        return Manner(closing=around, stops=stops, start=start)
    objective = opened.run.experiment.objective if opened.run is not None else None
    if two_sided:
        start_of = start_of_spans if isinstance(objective, SpanCorruption) else start_of_target
        return Manner(closing=ends, stops=ends, start=start_of(special))
    if not isinstance(objective, NextToken | PrefixLM):
        return Manner(stops=ends)
    purpose = "beginning a text"
    opening = (mark(special, objective.opening, purpose),) if objective.opening else ()
    stops = (mark(special, objective.closing, purpose),) if objective.closing else ()
    return Manner(opening=opening, stops=stops, prefix=isinstance(objective, PrefixLM))


def ids_of(opened: Opened, prompt: str | np.ndarray, manner: Manner) -> np.ndarray:
    """The ids of a prompt; special tokens that it spells are what they mean. An empty one is the beginning of a text. Ids stay
    as they are.
    """
    if not isinstance(prompt, str):
        return np.asarray(prompt, np.int32)
    tokenizer = tokenizer_of(opened)
    ids = np.concatenate([manner.opening, tokenizer.encode_marked(prompt), manner.closing]).astype(np.int32)
    if len(ids) > len(manner.closing):
        return ids
    if isinstance(opened.model, EncoderDecoder):
        raise GenerationError("the prompt is empty, and this model writes from a source; give --prompt some text")
    if tokenizer.special.bos is None:
        raise GenerationError(
            "the prompt is empty, and the vocabulary has no token that begins a text; give --prompt at least one token"
        )
    return np.array([tokenizer.special.bos], np.int32)


def masked_ids(opened: Opened, prompt: str) -> np.ndarray:
    """The ids of a prompt with masks, and the special tokens that belong around it."""
    tokenizer = tokenizer_of(opened)
    if tokenizer.special.mask is None:
        raise GenerationError(f"the vocabulary of {opened.name} has no mask to fill in")
    own = tokenizer.pieces[tokenizer.special.mask]
    for name in MASKS:
        prompt = prompt.replace(name, own)
    ids = tokenizer.encode_marked(prompt, special_tokens=True)
    if not (ids == tokenizer.special.mask).any():
        raise GenerationError(
            f"a masked language model fills in masks, and the prompt has none; put {own} where a word is missing"
        )
    room = places(opened.model)
    if room is not None and len(ids) > room:
        raise GenerationError(
            f"the prompt has {len(ids)} tokens, and the model has {room} positions; shorten it by {len(ids) - room}"
        )
    return ids


def plain(tokenizer: Tokenizer, ids: Any) -> list[int]:
    """Ids without those that only mark: beginnings, ends, padding. Sentinels stay, they are part of what is said."""
    special = tokenizer.special
    marks = {special.pad, special.bos, special.cls, special.eos, special.sep}
    return [int(index) for index in ids if int(index) not in marks]
