"""One column of a record as what a role wants: a text, a label, a number, words with their tags, answers, choices."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.errors import DataError

if TYPE_CHECKING:
    from data.tasks.tables import Record


def value(record: "Record", names: Sequence[str], role: str) -> Any:
    """What stands in the first of these columns that the record has."""
    for name in names:
        if name in record.columns:
            return record.columns[name]
    raise no_column(record, names, role)


def no_column(record: "Record", names: Sequence[str], role: str) -> DataError:
    """The error for a column that is not there; it names those that are."""
    there = [str(name) for name in record.columns]
    example = there[0] if there else "text"
    return DataError(f"{record.place} has no column {' or '.join(names)}; its columns are {', '.join(there) or 'none'}: name one "
                     f"with --data.task.{role} \"('{example}',)\", or where the file has no header all of them, as in "
                     "files:FILE#label,text")  # fmt: skip


def text(record: "Record", names: Sequence[str], role: str, *, empty: bool = False) -> str:
    """A text that is not empty, unless that is allowed."""
    found = value(record, names, role)
    if not isinstance(found, str):
        raise DataError(f"{record.place} has no text as its {role} but {type(found).__name__}; write a text there")
    if not empty and not found.strip():
        raise DataError(f"{record.place} has an empty {role}; remove that line, or write its text")
    return found.encode("utf-8", "replace").decode()  # lone surrogates are not text


def spelling(found: Any) -> str:
    """A label as the word that a source writes: 1, 1.0 and true are "1".

    >>> spelling(True), spelling(2.0), spelling(" yes "), spelling(None)
    ('1', '2', 'yes', '')
    """
    if isinstance(found, bool) or (isinstance(found, float) and found.is_integer()):
        found = int(found)
    return "" if found is None else str(found).strip()


def label(record: "Record", names: Sequence[str], role: str) -> str:
    """A label as the source spells it."""
    found = spelling(value(record, names, role))
    if not found:
        raise DataError(f"{record.place} has no label; write it, or remove that line")
    return found


def spellings(labels: Sequence[str], spelt: Sequence[str] = ()) -> dict[str, str]:
    """From every way to write a label to its name: by its number, as `spelt` says, by name; the last of these goes first.

    >>> spellings(("bad", "good"), ("1", "2"))
    {'1': 'bad', '2': 'good', 'bad': 'bad', 'good': 'good'}
    >>> spellings(("bad", "good"))["1"]
    'good'
    """
    numbers = {} if spelt else {str(number): name for number, name in enumerate(labels)}
    return numbers | dict(zip(spelt, labels, strict=False)) | {name: name for name in labels}


def label_name(spelt: str, known: dict[str, str], labels: Sequence[str], place: str) -> str:
    """The name of a label, or an error that names those that are known."""
    if spelt in known:
        return known[spelt]
    shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
    if spelt == "-1":
        raise DataError(
            f"{place} has the label -1, which marks parts of a source that are not labelled; name a labelled one"
        )
    raise DataError(f"{place} has the label {spelt!r}, which no training example has and the task does not name; known are "
                    f"{shown}: mend that line, or name all with --data.task.labels")  # fmt: skip


def label_order(name: str) -> tuple[int, float, str]:
    """Numbers count up, words follow by their letters."""
    return (0, float(name), name) if re.fullmatch(r"\d+(\.\d+)?", name) else (1, 0.0, name)


def number(record: "Record", names: Sequence[str], role: str) -> float:
    """A finite number."""
    found = value(record, names, role)
    try:
        result = float(found)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        missing = "no number" if found is None or not str(found).strip() else f"{found!r}, which is no number,"
        raise DataError(f"{record.place} has {missing} as its {role}; write one, or remove that line")
    return result


def words_and_tags(record: "Record", words: Sequence[str], tags: Sequence[str]) -> tuple[list[str], list[str]]:
    """Two lists of equal length: words, and a tag for each."""
    lists = []
    for names, role in ((words, "words"), (tags, "tags")):
        found = value(record, names, role)
        if isinstance(found, str):
            found = re.split("[ \t]+", found.strip(" \t\r\n"))
        if not isinstance(found, list | tuple) or not found:
            raise DataError(
                f"{record.place} has no list of {role} but {found!r}; write a list, or words with spaces between"
            )
        # Only what separates columns is taken from a word: a space that does not break may be all of it.
        lists.append([str(item).strip(" \t\r\n") if isinstance(item, str) else spelling(item) for item in found])
    if len(lists[0]) != len(lists[1]):
        more = "tags" if len(lists[1]) > len(lists[0]) else "words"
        raise DataError(f"{record.place} has {len(lists[0])} words and {len(lists[1])} tags, so {more} are left over; write "
                        "one tag a word")  # fmt: skip
    for role, items in zip(("word", "tag"), lists, strict=True):
        if not all(items):
            place = line_of_word(record.place, items.index(""))
            raise DataError(f"{place} has an empty {role}; write it, or remove the word with its tag")
    return lists[0], lists[1]


def line_of_word(place: str, word: int) -> str:
    """The place of a word in a sentence: the sentence's own line, or in a file with a word a line that of the word.

    >>> line_of_word("a.conll line 7", 2), line_of_word("a.jsonl line 7", 2)
    ('a.conll line 9', 'a.jsonl line 7 word 3')
    """
    if found := re.fullmatch(r"(.*\.(?:conll|bio|iob|bioes|bmes|txt)(?:\.gz)?) line (\d+)", place):
        return f"{found[1]} line {int(found[2]) + word}"
    return f"{place} word {word + 1}"


def gold_answers(record: "Record", names: Sequence[str]) -> list[dict[str, Any]]:
    """Answers as {"text": ..., "start": ...}, of SQuAD's form, of TFDS's two lists, or none."""
    found = value(record, names, "golds")
    if isinstance(found, dict):
        starts = found.get("answer_start", found.get("start", []))
        found = [{"text": t, "answer_start": s} for t, s in zip(found.get("text", []), starts, strict=False)]
    answers = []
    for answer in found or []:
        start = answer.get("answer_start", answer.get("start")) if isinstance(answer, dict) else None
        if not isinstance(start, int) or not isinstance(answer.get("text"), str):
            raise DataError(
                f"{record.place} has an answer without a text and its answer_start; write both, as in SQuAD"
            )
        if start >= 0 and answer["text"]:
            answers.append({"text": answer["text"], "start": start})
    return answers


def choices(record: "Record", names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Endings to choose from, a list in one column or a column each; and how the source calls them, if it says.

    ARC has both in one column: {"text": [...], "label": ["A", "B", ...]}.
    """
    listed = next((record.columns[n] for n in names if isinstance(record.columns.get(n), list | dict)), None)
    called: list[str] = []
    if isinstance(listed, dict):
        called = [spelling(name) for name in listed.get("label", [])]
        listed = listed.get("text", [])
    if listed is None:
        there = [name for name in names if name in record.columns]
        if len(there) < 2:
            raise no_column(record, names, "choices")
        listed = [record.columns[name] for name in there]
    found = [item for item in listed if isinstance(item, str) and item.strip()]
    if len(found) < len(listed) or len(found) < 2:
        raise DataError(
            f"{record.place} has {len(found)} choices with text of {len(listed)}; write two or more, none empty"
        )
    return found, called if len(called) == len(found) else []


def conversation(record: "Record", messages: list[Any], message: str) -> tuple[str, str]:
    """What was said before the last message, put together by a template, and the last message."""
    spoken = [m for m in messages if isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m]
    if len(spoken) < len(messages) or len(spoken) < 2 or not spoken[-1]["content"].strip():
        raise DataError(f"{record.place} has no conversation: it takes two messages or more, each with role and content, the "
                        "last not empty")  # fmt: skip
    before = "".join(message.format(role=m["role"], content=m["content"]) for m in spoken[:-1])
    opening = message.format(role=spoken[-1]["role"], content="").rstrip("\n")
    return before + opening, spoken[-1]["content"]
