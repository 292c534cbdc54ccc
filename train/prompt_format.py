"""What stands around a prompt, what a decoder begins with, and what ends a text: as a model was trained, or is published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data.segments import mark
from data.spans import start_of_spans
from data.tasks.choices import Generation
from data.tasks.config import TaskData
from data.text_pairs import start_of_target
from data.tokenizers import Tokenizer
from train.objectives import NextToken, PrefixLM, SpanCorruption

PURPOSE = "beginning a text"


@dataclass(frozen=True)
class PromptFormat:
    """How a model that writes text is asked.

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

    @property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids before a prompt and behind it."""
        return self.opening, self.closing


def trained_format(tokenizer: Tokenizer, two_sided: bool, objective: Any = None, data: Any = None) -> PromptFormat:
    """How a model is asked that was trained here by `objective` on `data`; of an unknown objective only the ends are known."""
    special = tokenizer.special
    end = special.sep if special.eos is None else special.eos
    ends = () if end is None else (end,)
    if two_sided:
        start_of = start_of_spans if isinstance(objective, SpanCorruption) else start_of_target
        return PromptFormat(closing=ends, stops=ends, start=start_of(special))
    prefix = isinstance(objective, PrefixLM)
    if isinstance(data, TaskData) and isinstance(data.task, Generation):  # its rows are framed by the tokenizer
        return PromptFormat(opening=_ids(tokenizer.frame(1).around[0]), stops=ends, prefix=prefix)
    if not isinstance(objective, NextToken | PrefixLM):
        return PromptFormat(stops=ends)
    opening = (mark(special, objective.opening, PURPOSE),) if objective.opening else ()
    stops = (mark(special, objective.closing, PURPOSE),) if objective.closing else ()
    return PromptFormat(opening=opening, stops=stops, prefix=prefix)


def published_format(tokenizer: Tokenizer, two_sided: bool, fields: Mapping[str, Any]) -> PromptFormat:
    """How a published model is asked: as its tokenizer frames a text, and as the `fields` of its configs say.

    What the tokenizer puts behind a text is left out for a decoder, which would take it for the end. A field that is null says
    that there is no such token.
    """
    special = tokenizer.special
    end = special.sep if special.eos is None else special.eos
    ends = () if end is None else (end,)
    stops = fields.get("eos_token_id", ends)
    stops = (
        ()
        if stops is None
        else tuple(i for i in stops if i is not None)
        if isinstance(stops, list | tuple)
        else (stops,)
    )
    opening, closing = map(_ids, tokenizer.frame(1).around)
    if not two_sided:
        return PromptFormat(opening=opening, stops=stops)
    start = fields.get("decoder_start_token_id")
    return PromptFormat(opening, closing, stops, start_of_target(special) if start is None else start)


def _ids(ids: Any) -> tuple[int, ...]:
    return tuple(int(index) for index in ids)
