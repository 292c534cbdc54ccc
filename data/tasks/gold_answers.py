"""The answers of a question as sources write them: in SQuAD's form, in the two lists of TFDS, or none.

[{"text": "cat", "answer_start": 4}, ...]       {"text": ["cat", ...], "answer_start": [4, ...]}
{"text": "cat", "answer_start": 4}              one answer
[]   {"text": [], "answer_start": []}           none; is_impossible, where it stands beside them, must agree

Anything else is an error: a damaged answer read as none would be a question without one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.errors import DataError
from data.tasks.example_parts import value

if TYPE_CHECKING:
    from data.tasks.tables import Record

IMPOSSIBLE = "is_impossible"


FORM = 'write [{"text": ..., "answer_start": ...}], as in SQuAD, or [] for no answer'


def gold_answers(record: "Record", names: Sequence[str]) -> list[dict[str, Any]]:
    """Answers as {"text": ..., "start": ...}; a start below 0 is kept, as one that is misplaced."""
    impossible = record.columns.get(IMPOSSIBLE)
    if impossible is not None and (not isinstance(impossible, bool | int) or impossible not in (0, 1)):
        raise DataError(f"{record.place} has {IMPOSSIBLE} that is neither true nor false; write one of them")
    if impossible and not any(name in record.columns for name in names):
        return []
    found = value(record, names, "golds")
    given = _pairs(record, found) if isinstance(found, dict) else found
    if not isinstance(given, list | tuple):
        raise DataError(f"{record.place} has {_kind(found)} as its answers; {FORM}")
    answers = [_answer(record, one) for one in given]
    if impossible is not None and bool(impossible) == bool(answers):
        what, remedy = ("an answer", "false") if answers else ("no answer", "true")
        raise DataError(f"{record.place} has {what} and {IMPOSSIBLE}: {str(bool(impossible)).lower()}; mend its answers, or "
                        f"write {IMPOSSIBLE}: {remedy}")  # fmt: skip
    return answers


def _pairs(record: "Record", found: dict[str, Any]) -> list[dict[str, Any]]:
    """Two lists, or one text and its start, as a list of answers."""
    texts, starts = found.get("text"), _start(found)
    if not isinstance(texts, list | tuple) and not isinstance(starts, list | tuple):
        return [found]
    if not isinstance(texts, list | tuple) or not isinstance(starts, list | tuple):
        raise DataError(
            f"{record.place} has answers of which text or answer_start is a list and the other is none; {FORM}"
        )
    if len(texts) != len(starts):
        raise DataError(f"{record.place} has {len(texts)} texts of answers and {len(starts)} answer_start; write one "
                        "answer_start a text")  # fmt: skip
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _answer(record: "Record", answer: Any) -> dict[str, Any]:
    text, start = (answer.get("text"), _start(answer)) if isinstance(answer, dict) else (None, None)
    if isinstance(start, float) and start.is_integer():
        start = int(start)
    if not isinstance(start, int) or isinstance(start, bool) or not isinstance(text, str) or not text.strip():
        raise DataError(f"{record.place} has an answer without a text and its answer_start, a whole number; {FORM}")
    return {"text": text, "start": start}


def _start(answer: dict[str, Any]) -> Any:
    return answer.get("answer_start", answer.get("start"))


def _kind(found: Any) -> str:
    kinds = {str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(found), type(found).__name__)
