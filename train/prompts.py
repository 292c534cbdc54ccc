"""From the text of a prompt to what a model reads: ids, what a decoder begins with, and what ends a text."""

from typing import Any

import numpy as np

from data.tokenizers import Tokenizer
from model.decoder import LanguageModel
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.foreign import read_json
from model.published import HubError
from model.ragged import GenerationError, places
from train.pretrained import Opened
from train.prompt_format import PromptFormat, published_format, trained_format

MASKS = ("[MASK]", "<mask>")  # accepted in a prompt, whatever the vocabulary calls its own


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


def manner_of(opened: Opened) -> PromptFormat:
    """How a run or a published model is asked."""
    tokenizer, two_sided = tokenizer_of(opened), isinstance(opened.model, EncoderDecoder)
    if opened.pretrained is not None:
        folder, fields = opened.pretrained.folder, dict(opened.pretrained.fields)
        if (folder / "generation_config.json").is_file():
            fields |= {k: v for k, v in read_json(folder / "generation_config.json", HubError).items() if v is not None}
        stops, start = fields.get("eos_token_id"), fields.get("decoder_start_token_id")
        named = [*(stops if isinstance(stops, list) else [stops]), start]
        if strange := [i for i in named if i is not None and (type(i) is not int or not 0 <= i < 2**31)]:
            raise HubError(
                f"{folder} has {strange[0]!r} for eos_token_id or decoder_start_token_id, which are ids of tokens; mend its "
                "config.json and generation_config.json"
            )
        return published_format(tokenizer, two_sided, fields)
    experiment = opened.run.experiment if opened.run is not None else None
    if experiment is None:
        return trained_format(tokenizer, two_sided)
    return trained_format(tokenizer, two_sided, experiment.objective, experiment.data)


def ids_of(opened: Opened, prompt: str | np.ndarray, manner: PromptFormat) -> np.ndarray:
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
