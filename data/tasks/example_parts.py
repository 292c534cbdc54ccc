"""One column of a record as what a role wants: a text, a label, a number, words with their tags, choices."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.errors import DataError
from data.tasks.missing import TAG_WORDS, WORDS, MissingValue, Policy, is_missing, is_word_for_none
from data.tasks.printed_lists import is_broken, is_listed, read_list

if TYPE_CHECKING:
    from data.tasks.tables import Record

MOST = 10_000  # characters of a label; a text that was named as the label by mistake may be a book
UNSEEN: dict[int, None] = dict.fromkeys(
    (0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF)
)  # no width, directions, byte-order marks
MOST_LISTED = 1_000_000  # of several labels as one text
LARGEST = (2 - 2**-23) * 2.0**127  # of float32, in which targets are


def value(record: "Record", names: Sequence[str], role: str) -> Any:
    """What stands in the first of these columns that the record has."""
    for name in names:
        if name in record.columns:
            return record.columns[name]
    raise no_column(record, names, role)


def no_column(record: "Record", names: Sequence[str], role: str) -> DataError:
    """The error for a column that is not there; it names those that are."""
    there = [str(name) for name in record.columns]
    near = [name for name in there if any(word.casefold() in name.casefold() for word in (*names, role))]
    example = near[0] if near else "NAME"
    return DataError(f"{record.place} has no column {' or '.join(names)}; its columns are {', '.join(there) or 'none'}: name one "
                     f"with --data.task.{role} \"('{example}',)\", or where the file has no header all of them, as in "
                     "files:FILE#label,text")  # fmt: skip


def text(record: "Record", names: Sequence[str], role: str, *, empty: bool = False) -> str:
    """A text that is not empty, unless that is allowed."""
    found = value(record, names, role)
    if not empty and is_missing(found):
        raise MissingValue(
            f"{record.place} has an empty {role}; remove that line, or write its text", f"an empty {role}"
        )
    if not isinstance(found, str):
        raise DataError(f"{record.place} has no text as its {role} but {type(found).__name__}; write a text there")
    return found.encode("utf-8", "replace").decode()  # lone surrogates are not text


def spelling(found: Any) -> str:
    """A label as the word that a source writes: 1 and 1.0 are "1"; none at all, NaN included, is empty.

    >>> spelling(True), spelling(2.0), spelling(" yes "), spelling(None), spelling(float("nan"))
    ('true', '2', 'yes', '', '')
    """
    if is_missing(found):
        return ""
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return visible(str(found).strip())


def visible(spelt: str) -> str:
    """A label without marks that nobody sees; joiners, which belong to some words, stay inside of it.

    >>> visible("\\ufeffO\\u200b"), visible("A\\u200cB\\u200c")
    ('O', 'A\\u200cB')
    """
    return spelt if spelt.isascii() else spelt.translate(UNSEEN).strip("\u200c\u200d \t\r\n")


def label(
    record: "Record", names: Sequence[str], role: str, named: Sequence[str] = (), policy: Policy = "refuse"
) -> str:
    """A label as the source spells it; `named` are those that the task names, words for none among them."""
    found = value(record, names, role)
    spelt = bounded(record, spelling(found))
    if (isinstance(found, list | tuple | dict) or is_listed(spelt)) and spelt not in named:
        raise DataError(f"{record.place} has the label {spelt[:60]}, a list, where there is one label for an example: write "
                        "that label, or use a task of MultiLabel")  # fmt: skip
    return present(record, spelt, named, policy, WORDS)


def bounded(record: "Record", spelt: str, most: int = MOST) -> str:
    """A label, or several as one text, that is no longer than labels are."""
    if len(spelt) <= most:
        return spelt
    raise DataError(f"{record.place} has a label of {len(spelt):,} characters, and {most:,} are the most: name the column of the "
                    "labels, or mend that line")  # fmt: skip


def present(record: "Record", spelt: str, named: Sequence[str], policy: Policy, words: frozenset[str]) -> str:
    """A label that is there; MissingValue for none, and for a word for none that nobody names."""
    if not spelt:
        raise MissingValue(f"{record.place} has no label; write it, or remove that line", "no label")
    if is_word_for_none(spelt, named, policy, words):
        raise MissingValue(
            f"{record.place} has the label {spelt!r}, a word for no label; if it is a class, name all with --data.task.labels, "
            "or keep such words as classes with --data.task.missing class",
            f"the label {spelt}",
        )
    return spelt


def listed(record: "Record", found: Any, separator: str) -> list[str]:
    """Several labels: a list, a text that spells one, or words with a separator between; empty for none of them."""
    if isinstance(found, str):
        bounded(record, found, MOST_LISTED)
    if _is_printed(found):
        found = _printed(record, found, "labels")
    elif isinstance(found, str):
        items = [bounded(record, item) for part in found.split(separator) if (item := visible(part.strip()))]
        if found.strip() and not items:
            raise MissingValue(f"{record.place} has nothing but {separator!r} as its labels; leave the cell empty for none of "
                               "them, or remove that line", "no labels")  # fmt: skip
        return items
    if is_missing(found):
        raise MissingValue(f"{record.place} has no labels but {found!r}; write [] for none of them, or remove that line",
                           "no labels")  # fmt: skip
    if not isinstance(found, list | tuple):
        raise DataError(f"{record.place} has labels that are neither a list nor a text ({found!r}); write [] or words with "
                        f"{separator!r} between")  # fmt: skip
    if any(isinstance(item, list | tuple | dict) for item in found):
        raise DataError(f"{record.place} has a list inside the list of its labels; write a flat list of names")
    if any(is_missing(item) for item in found):
        raise MissingValue(
            f"{record.place} has a label that is none in the list of its labels; remove it there", "no label"
        )
    return [bounded(record, spelling(item)) for item in found]


def _is_printed(found: Any) -> bool:
    """Whether a value is a text that begins as a list does."""
    return isinstance(found, str) and (is_listed(found) or is_broken(found))


def _printed(record: "Record", text: str, role: str) -> list[Any]:
    """The items of a list as a program printed it."""
    try:
        return read_list(text)
    except ValueError as error:
        raise DataError(f"{record.place} has {role} that begin as a list and cannot be read ({text[:60]}): {error}; write a list "
                        "with commas between") from None  # fmt: skip


def number(record: "Record", names: Sequence[str], role: str) -> float:
    """A finite number."""
    found = value(record, names, role)
    try:
        result = math.nan if "_" in str(found) else float(found)  # Python's own notation: 1_000
    except (TypeError, ValueError):
        result = math.nan
    except OverflowError:
        result = math.inf
    if abs(result) > LARGEST:
        raise DataError(f"{record.place} has {str(found)[:60]} as its {role}, which is beyond the numbers of float32 "
                        f"({LARGEST:.3g}); write it in another unit, or remove that line")  # fmt: skip
    if math.isfinite(result) and not isinstance(found, bool):
        return result
    if is_missing(found):
        raise MissingValue(f"{record.place} has no number as its {role}; write one, or remove that line", f"no {role}")
    line = f"{record.place} has {found!r}, which is no number, as its {role}; write one, or remove that line"
    if isinstance(found, str) and is_word_for_none(found, (), "refuse"):
        raise MissingValue(line, f"no {role}")
    raise DataError(line)


def words_and_tags(
    record: "Record", words: Sequence[str], tags: Sequence[str], named: Sequence[str] = (), policy: Policy = "refuse"
) -> tuple[list[str], list[str]]:
    """Two lists of equal length: words, and a tag for each; `named` are the tags that the task names."""
    lists = []
    tagged = value(record, tags, "tags")
    printed = _is_printed(tagged)  # a sentence, too, may begin with a bracket
    for names, role in ((words, "words"), (tags, "tags")):
        found = value(record, names, role)
        if printed and _is_printed(found):
            found = _printed(record, found, role)
        if isinstance(found, str):
            found = re.split("[ \t]+", found.strip(" \t\r\n"))
        if not isinstance(found, list | tuple) or not found:
            raise DataError(
                f"{record.place} has no list of {role} but {found!r}; write a list, or words with spaces between"
            )
        if any(isinstance(item, list | tuple | dict) for item in found):
            raise DataError(f"{record.place} has a list inside the list of its {role}; write a flat list of {role}")
        # Only what separates columns is taken from a word: a space that does not break may be all of it.
        items = [str(item).strip(" \t\r\n") if isinstance(item, str) else spelling(item) for item in found]
        lists.append([visible(item) for item in items] if role == "tags" else items)
    if len(lists[0]) != len(lists[1]):
        more = "tags" if len(lists[1]) > len(lists[0]) else "words"
        raise DataError(f"{record.place} has {len(lists[0])} words and {len(lists[1])} tags, so {more} are left over; write "
                        "one tag a word")  # fmt: skip
    for role, items in zip(("word", "tag"), lists, strict=True):
        if not all(items):
            place = line_of_word(record.place, items.index(""))
            raise MissingValue(
                f"{place} has an empty {role}; write it, or remove the word with its tag", f"an empty {role}"
            )
    for number, tag in enumerate(lists[1]):
        if is_word_for_none(bounded(record, tag), named, policy, TAG_WORDS):
            place = line_of_word(record.place, number)
            line = f"{place} has the tag {tag!r}, a word for none; if it is a tag, name all with --data.task.labels, or keep "
            raise MissingValue(line + "such words with --data.task.missing class", f"the tag {tag}")
    return lists[0], lists[1]


def line_of_word(place: str, word: int) -> str:
    """The place of a word in a sentence: the sentence's own line, or in a file with a word a line that of the word.

    >>> line_of_word("a.conll line 7", 2), line_of_word("a.jsonl line 7", 2)
    ('a.conll line 9', 'a.jsonl line 7 word 3')
    """
    if found := re.fullmatch(r"(.*\.(?:conll|bio|iob|bioes|bmes|txt)(?:\.gz)?) line (\d+)", place):
        return f"{found[1]} line {int(found[2]) + word}"
    return f"{place} word {word + 1}"


CHOICES = 'write a list of texts, or {"text": [...], "label": ["A", "B", ...]}, as in ARC'


def choices(record: "Record", names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Endings to choose from, a list in one column or a column each; and how the source calls them, if it says.

    ARC has both in one column: {"text": [...], "label": ["A", "B", ...]}.
    """
    listed = next((record.columns[n] for n in names if isinstance(record.columns.get(n), list | dict)), None)
    alone = [found for name in names if isinstance(found := record.columns.get(name), str)]
    if listed is None and len(alone) == 1 and _is_printed(alone[0]):
        listed = _printed(record, alone[0], "choices")
    called: list[str] = []
    if isinstance(listed, dict):
        named, listed = listed.get("label", []), listed.get("text")
        if not isinstance(named, list | tuple) or not isinstance(listed, list | tuple):
            raise DataError(f"{record.place} has choices whose text or label is no list; {CHOICES}")
        called = [spelling(name) for name in named]
        if called and (len(set(called)) < len(called) or len(called) != len(listed) or not all(called)):
            raise DataError(f"{record.place} has {len(listed)} choices, called {', '.join(called)[:60]}: give each a name of its "
                            "own, or leave label out of them")  # fmt: skip
    if listed is None:
        there = [name for name in names if name in record.columns]
        if len(there) < 2:
            raise no_column(record, names, "choices")
        listed, called = [record.columns[name] for name in there], there
    found = [item for item in listed if isinstance(item, str) and item.strip()]
    if len(found) < len(listed) or len(found) < 2:
        raise MissingValue(
            f"{record.place} has {len(found)} choices with text of {len(listed)}; write two or more, none empty",
            "an empty choice",
        )
    return found, called


def conversation(record: "Record", messages: list[Any], message: str) -> tuple[str, str]:
    """What was said before the last message, put together by a template, and the last message."""
    spoken = [m for m in messages if isinstance(m, dict) and isinstance(m.get("content"), str) and "role" in m]
    if len(spoken) < len(messages) or len(spoken) < 2 or not spoken[-1]["content"].strip():
        raise DataError(f"{record.place} has no conversation: it takes two messages or more, each with role and content, the "
                        "last not empty")  # fmt: skip
    before = "".join(message.format(role=m["role"], content=m["content"]) for m in spoken[:-1])
    opening = message.format(role=spoken[-1]["role"], content="").rstrip("\n")
    return before + opening, spoken[-1]["content"]
