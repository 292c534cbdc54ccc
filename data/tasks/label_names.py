"""Names of labels: which are numbers, which mean the same in another spelling, and how two lists of them lie to each other.

    exact      "Positive"                     as it is written
    plain      "positive" "Posi-tive "        without case, width, Unicode's form, white space; no hyphens or underscores inside
    bare       "Sci/Tech" "sci tech"          without punctuation inside, quotation marks around and stops at the end
    number     "1" "1.0" "+1"                 equal in value; a sign is never lost; 007 is a code, not a number
    nameless   "LABEL_1" "1"                  a row of a head that was never given a name

A mark at an end, as in A-, C# and half*, and one between digits, as in 1-2 and 1.5, is part of a name at every level.
Two spellings are the same label if the first level at which neither list has doublets says so.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

NUMERAL = re.compile(r"[+-]?(0|[1-9]\d{0,17})(\.\d{1,18})?")
NAMELESS = re.compile(r"label[_ -]?(\d{1,9})", re.IGNORECASE)
LETTERED = re.compile(r"[BILUESMO][-_ ](.+)", re.IGNORECASE)
DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
SEPARATORS = re.compile(r"[\s_-]+")
AROUND = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb", "(": ")", "[": "]", "{": "}"}
STOPS = ".,;:"


@dataclass(frozen=True)
class Matching:
    """How one list of labels lies to another.

    Attributes:
        rows: for each of ours the place of the same label in theirs; None where there is no such one-to-one map.
        reason: why there is none.
    """

    rows: tuple[int, ...] | None
    reason: str = ""

    @property
    def in_order(self) -> bool:
        """Whether both lists are the same, spelling aside."""
        return self.rows is not None and self.rows == tuple(range(len(self.rows)))


def match_labels(ours: Sequence[str], theirs: Sequence[str], *, tags: bool = False) -> Matching:
    """The permutation that leads from our labels to theirs, by their names alone; `tags` may stand without their letters.

    >>> match_labels(("contradiction", "entailment", "neutral"), ("ENTAILMENT", "Neutral", "contradiction")).rows
    (2, 0, 1)
    >>> match_labels(("-1", "1"), ("1.0", "-1.0")).rows, match_labels(("bad", "good"), ("no", "yes")).rows
    ((1, 0), None)
    >>> match_labels(("O", "I-PER"), ("O", "PER"), tags=True).rows, match_labels(("0", "1"), ("LABEL_0", "LABEL_1")).rows
    ((0, 1), (0, 1))
    """
    if len(ours) != len(theirs):
        return Matching(None, f"there are {len(theirs)} there and {len(ours)} here")
    levels = [*LEVELS, without_letter] if tags else LEVELS
    doubled = ""
    for level in levels:
        here, there = [level(name) for name in ours], [level(name) for name in theirs]
        if len(set(here)) == len(here) and len(set(there)) == len(there):
            if set(here) == set(there):
                return Matching(tuple(there.index(name) for name in here))
        elif set(here) == set(there):
            doubled = "several differ in case or punctuation only"
    if is_nameless(theirs) or is_nameless(ours):
        here, there = [row_of(name) for name in ours], [row_of(name) for name in theirs]
        if set(here) == set(there) == set(range(len(ours))):
            return Matching(tuple(there.index(row) for row in here))
    return Matching(None, doubled or "they are other names")


def is_nameless(labels: Sequence[str]) -> bool:
    """Whether a head's labels are what published code calls rows without names: LABEL_0, LABEL_1, ...

    >>> is_nameless(("LABEL_0", "LABEL_1")), is_nameless(("LABEL_0", "good"))
    (True, False)
    """
    return bool(labels) and all(NAMELESS.fullmatch(label.strip()) for label in labels)


def row_of(name: "str | int") -> int | None:
    """The row that a number or LABEL_n names, None where a name is neither.

    >>> row_of("LABEL_2"), row_of("2"), row_of("2.0"), row_of("-1"), row_of("two")
    (2, 2, 2, None, None)
    """
    if isinstance(name, int):
        return name
    if found := NAMELESS.fullmatch(name.strip()):
        return int(found[1])
    value = numeral(name)
    return int(value) if value is not None and value >= 0 and value == int(value) else None


def numeral(name: str) -> Decimal | None:
    r"""The value of a name that is a number, in any script's digits; None for a word, or a code such as 007.

    >>> numeral("-1"), numeral("\uff11.50"), numeral("007"), numeral("v2")
    (Decimal('-1'), Decimal('1.50'), None, None)
    """
    text = unicodedata.normalize("NFKC", name).strip().replace("\u2212", "-")
    return Decimal(text) if NUMERAL.fullmatch(text) else None


def number_inside(name: str) -> int | None:
    """The one whole number that stands in a name, as in "4 stars"; None where there are none or several.

    >>> number_inside("4 stars"), number_inside("Grade-10"), number_inside("1 to 2"), number_inside("good"), number_inside("3")
    (4, 10, None, None, None)
    """
    text = unicodedata.normalize("NFKC", name)
    found = re.findall(r"\d+", text)
    return int(found[0]) if len(found) == 1 and len(found[0]) < 9 and numeral(name) is None else None


def plain(name: str) -> str:
    """A name without case, width and white space, nor hyphens and underscores inside of it; a number as its value.

    >>> plain("Not_Entailment ") == plain("not-entailment"), plain("1.0") == plain("1"), plain("-1") == plain("1")
    (True, True, False)
    >>> plain("A-") == plain("A"), plain("1-2 years") == plain("12 years")
    (False, False)
    """
    if (value := numeral(name)) is not None:
        return f"#{value.normalize() + 0}"
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).translate(DASHES)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf").strip()
    return SEPARATORS.sub(lambda run: _between(run, "".join(run[0].split())), text) or name


def bare(name: str) -> str:
    """`plain` without punctuation inside, what stands around the whole name, and stops at its end.

    >>> bare("Sci/Tech") == bare("sci tech"), bare("'U.S.'") == bare("US"), bare("C#") == bare("C"), bare("2.5 m") == bare("25 m")
    (True, True, False, False)
    """
    found = plain(name)
    if numeral(name) is not None:
        return found
    while len(found) > 2 and AROUND.get(found[0]) == found[-1]:
        found = found[1:-1]
    found = found.rstrip(STOPS) or found
    marks = "".join(sorted({c for c in found if unicodedata.category(c).startswith("P")}))
    return re.sub(f"[{re.escape(marks)}]+", lambda run: _between(run, run[0]), found) if marks else found


def _between(run: re.Match, otherwise: str) -> str:
    """What a run of marks becomes: nothing between letters, a space between digits, else what is given."""
    text, (start, stop) = run.string, run.span()
    before, after = text[max(0, start - 1) : start], text[stop : stop + 1]
    if before.isdigit() and after.isdigit():
        return " " if not otherwise or SEPARATORS.fullmatch(run[0]) else otherwise
    return "" if _is_letter(before) and _is_letter(after) else otherwise


def _is_letter(mark: str) -> bool:
    return mark.isalnum() or unicodedata.category(mark or " ").startswith("M")


def without_letter(name: str) -> str:
    """A tag without the letter of its scheme, plain."""
    found = LETTERED.fullmatch(name.strip())
    return plain(found[1]) if found else plain(name)


def exact(name: str) -> str:
    """The name as it is."""
    return name


def canonical(name: str) -> str:
    r"""The name in Unicode's composed form: an accent is part of its letter, however it was typed.

    >>> len("e\u0301"), len(canonical("e\u0301"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", name)


def label_order(name: str) -> tuple[int, Decimal, str]:
    """The key that sorts labels: numbers count up, sign and decimals included; words follow by their letters.

    >>> sorted(("10", "b", "-1", "0.5", "9", "a"), key=label_order)
    ['-1', '0.5', '9', '10', 'a', 'b']
    """
    value = numeral(name)
    return (1, Decimal(0), name) if value is None else (0, value, name)


def look_alikes(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of labels that are the same but for case, white space or punctuation.

    >>> look_alikes(("good", "bad", "Good"))
    [('good', 'Good')]
    """
    first: dict[str, str] = {}
    return [(first[key], name) for name in labels if first.setdefault(key := plain(name), name) != name]


def shown(labels: Sequence[str], most: int = 20) -> str:
    """Labels in a line, long lists and long names cut.

    >>> shown(("a", "b", "c"), 2)
    'a, b, ...'
    """
    cut = [label if len(label) <= 60 else label[:57] + "..." for label in labels[:most]]
    return ", ".join(cut) + (", ..." if len(labels) > most else "")


LEVELS: list[Callable[[str], str]] = [exact, plain, bare]
