"""Tagging schemes: what the letters of tags say about spans; spans read from tags, and written as tags.

    IOB1   I everywhere; B where a span follows another of its type at once (CoNLL-2003 as published)
    IOB2   B at every beginning, I inside (BIO)              IO     I everywhere; spans of a type that touch are one
    IOE1   I everywhere; E where another of its type follows at once        IOE2   E at every end, I before it
    IOBES  B, I, E, and S for a span of one word; in other letters BIOES, BILOU, BMES, BMEWO
    BIOS   B, I, and S for a span of one word                IOBE   B, I, E, and B for a span of one word

A scheme has its letters, the letters that may begin a span, those that may end one, and the pairs that go on with one.
References: Ramshaw and Marcus, cmp-lg/9505040; Tjong Kim Sang and Veenstra, cs/9907006; Ratinov and Roth, W09-1119.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from data.errors import DataError

OUTSIDE = "O"
# What each letter of a tag means: M is the middle of BMES, L and U are the last and the only one of BILOU, W is a whole.
MEANING = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
MARKS = "-_:/.|="
LIKE_O = ("0", "\u041e", "\u043e", "\u039f", "\u03bf", "\uff2f")  # a zero, and O as other scripts write it
Form: TypeAlias = Literal["letter first", "letter last", "letter only", "type only"]
WITH_LETTERS: dict[Form, int] = {"letter first": 0, "letter last": -1, "letter only": 0}  # where the letter stands


class Tag(NamedTuple):
    """What a tag means: B, I, E, S or O, and the type of its span."""

    letter: str
    kind: str = ""


class OddTag(DataError):
    """A tag that is not written as most others are."""

    def __init__(self, message: str, tag: str):
        super().__init__(message)
        self.tag = tag


Span = tuple[str, int, int]  # type, first word, the word behind the last


@dataclass(frozen=True)
class Scheme:
    """The grammar of a scheme; `touching` is the letter that only stands between two spans of one type that touch."""

    letters: str
    begins: str
    goes_on: frozenset[str]  # pairs of letters of neighbours in a span
    ends: str
    touching: str = ""


def _scheme(letters: str, begins: str, goes_on: str, ends: str, touching: str = "") -> Scheme:
    return Scheme(letters, begins, frozenset(goes_on.split()), ends, touching)


# In the order in which they are preferred where several fit equally well.
GRAMMARS = {
    "IO": _scheme("I", "I", "II", "I"),
    "IOB2": _scheme("BI", "B", "BI II", "BI"),
    "IOB1": _scheme("BI", "BI", "BI II", "BI", "B"),
    "IOE2": _scheme("IE", "IE", "II IE", "E"),
    "IOE1": _scheme("IE", "IE", "II IE", "IE", "E"),
    "IOBES": _scheme("BIES", "BS", "BI BE II IE", "ES"),
    "BIOS": _scheme("BIS", "BS", "BI II", "IS"),
    "IOBE": _scheme("BIE", "B", "BI BE II IE", "BE"),
}
# Every name of a scheme: its grammar, and how its letters are written where not as they are.
NAMES: dict[str, tuple[str, dict[str, str]]] = {
    **{name: (name, {}) for name in GRAMMARS},
    "BIO": ("IOB2", {}),
    "BIOES": ("IOBES", {}),
    "BILOU": ("IOBES", {"E": "L", "S": "U"}),
    "BMES": ("IOBES", {"I": "M"}),
    "BMEWO": ("IOBES", {"I": "M", "S": "W"}),
}


@dataclass(frozen=True)
class Spelling:
    """How tags are written: letter and type in this order (B-PER) or the other (PER-B), the letter alone, the type alone."""

    form: Form
    mark: str = "-"
    lower: bool = False
    outside: str = OUTSIDE

    def read(self, tag: str) -> Tag | None:
        """What a tag means, or None where it is not written so."""
        if tag in ("O", "o"):
            return Tag(OUTSIDE)
        letter, kind = tag, ""
        match self.form:
            case "type only":
                return Tag("I", tag)
            case "letter first":
                if len(tag) < 3 or tag[1] not in MARKS:
                    return None
                letter, kind = tag[0], tag[2:]
            case "letter last":
                if len(tag) < 3 or tag[-2] not in MARKS:
                    return None
                letter, kind = tag[-1], tag[:-2]
        meaning = MEANING.get(letter.upper())
        return None if meaning is None else Tag(meaning, kind)

    def write(self, tag: Tag, letters: dict[str, str]) -> str:
        """The tag in this spelling, its letter as a scheme writes it."""
        if tag.letter == OUTSIDE:
            return self.outside
        letter = letters.get(tag.letter, tag.letter)
        letter = letter.lower() if self.lower else letter
        match self.form:
            case "type only":
                return tag.kind
            case "letter only":
                return letter
            case "letter last":
                return f"{tag.kind}{self.mark}{letter}"
        return f"{letter}{self.mark}{tag.kind}"


def spelling_of(tags: Iterable[str]) -> Spelling | None:
    """How a set of tags is written; None where they spell no spans, as parts of speech do not.

    Types without a letter are spans where there is an O beside them. OddTag where most have a letter and one has none.

    >>> spelling_of(["O", "PER_B", "PER_I"]).form, spelling_of(["O", "person", "place"]).form, spelling_of(["NN", "VB"])
    ('letter last', 'type only', None)
    """
    every = set(tags)
    inside = sorted(every - {"O", "o"})
    outside = "o" if "o" in every and "O" not in every else OUTSIDE
    if not inside:
        return Spelling("letter first", outside=outside) if every else None
    for form, at in WITH_LETTERS.items():
        if all(Spelling(form).read(tag) for tag in inside):
            mark = "-" if form == "letter only" else inside[0][1 if at == 0 else -2]
            return Spelling(form, mark, inside[0][at].islower(), outside)
    for form in WITH_LETTERS:
        read = [tag for tag in inside if Spelling(form).read(tag)]
        if 2 * len(read) > len(inside):
            odd = next(tag for tag in inside if tag not in read)
            remedy = ("it looks like the letter O, which stands for what is outside of spans: write that" if odd in LIKE_O else
                      "write it so, or O where it is outside of spans")  # fmt: skip
            raise OddTag(
                f"the tag {odd[:60]} has no letter of a scheme beside its type, as {read[0]} has; {remedy}", odd
            )
    return Spelling("type only", outside=outside) if every & {"O", "o"} else None


def spans_of(tags: Sequence[Tag], grammar: str) -> list[Span]:
    """The spans of a text that are well formed in a scheme, in order.

    >>> spans_of([Tag("B", "LOC"), Tag("I", "LOC"), Tag("I", "PER")], "IOB2")
    [('LOC', 0, 2)]
    """
    scheme, found, place = GRAMMARS[grammar], [], 0
    while place < len(tags):
        letter, kind = tags[place]
        if letter not in scheme.begins:
            place += 1
            continue
        stop = place + 1
        while (
            stop < len(tags) and tags[stop].kind == kind and tags[stop - 1].letter + tags[stop].letter in scheme.goes_on
        ):
            stop += 1
        touches_before = place > 0 and tags[place - 1].letter != OUTSIDE and tags[place - 1].kind == kind
        touches_behind = stop < len(tags) and tags[stop].letter != OUTSIDE and tags[stop].kind == kind
        last = tags[stop - 1].letter
        good = last in scheme.ends and not (letter == scheme.touching == "B" and not touches_before)
        if good and not (last == scheme.touching == "E" and not touches_behind):
            found.append((kind, place, stop))
            place = stop
        else:
            place += 1
    return found


def every_span(tags: Sequence[Tag], grammar: str) -> list[Span]:
    """The well-formed spans, and runs of what is left of one type, which are spans that were written wrongly."""
    good = spans_of(tags, grammar)
    left = list(tags)
    for _, start, stop in good:
        left[start:stop] = [Tag(OUTSIDE)] * (stop - start)
    runs = [Tag("I" if tag.letter != OUTSIDE else OUTSIDE, tag.kind) for tag in left]
    return sorted(good + spans_of(runs, "IO"), key=lambda span: span[1])


def tags_of(spans: Sequence[Span], length: int, grammar: str) -> list[Tag]:
    """Spans, in order and apart, as the tags of a scheme.

    >>> [tag.letter for tag in tags_of([("A", 0, 2), ("A", 2, 3)], 4, "IOB1")]
    ['I', 'I', 'B', 'O']
    """
    letters, tags = GRAMMARS[grammar].letters, [Tag(OUTSIDE)] * length
    for number, (kind, start, stop) in enumerate(spans):
        inner = ["I"] * (stop - start)
        before = number > 0 and spans[number - 1][::2] == (kind, start)
        behind = number + 1 < len(spans) and spans[number + 1][:2] == (kind, stop)
        if grammar in ("IOB2", "IOBES", "BIOS", "IOBE") or (grammar == "IOB1" and before):
            inner[0] = "B"
        if grammar == "IOE2" or (grammar == "IOE1" and behind) or (grammar in ("IOBES", "IOBE") and len(inner) > 1):
            inner[-1] = "E"
        if len(inner) == 1 and "S" in letters:
            inner = ["S"]
        tags[start:stop] = [Tag(letter, kind) for letter in inner]
    return tags


class Fit(NamedTuple):
    """How well a scheme fits: the tags that belong to no well-formed span, and the text and word of the first of them."""

    grammar: str
    odd: int
    first: tuple[int, int] | None


def fits(texts: Sequence[Sequence[Tag]], grammars: Iterable[str]) -> list[Fit]:
    """How well each of these schemes fits, the best first; equal ones in the order of GRAMMARS."""
    found = []
    for grammar in grammars:
        odd, first = 0, None
        for number, tags in enumerate(texts):
            covered = {place for _, start, stop in spans_of(tags, grammar) for place in range(start, stop)}
            wrong = [p for p, tag in enumerate(tags) if tag.letter != OUTSIDE and p not in covered]
            odd += len(wrong)
            if wrong and first is None:
                first = (number, wrong[0])
        found.append(Fit(grammar, odd, first))
    order = list(GRAMMARS)
    return sorted(found, key=lambda fit: (fit.odd, order.index(fit.grammar)))


def grammars_with(letters: Iterable[str]) -> list[str]:
    """The schemes that have all of these letters.

    >>> grammars_with("BI")[:2], grammars_with("S")
    (['IOB2', 'IOB1'], ['IOBES', 'BIOS'])
    """
    return [name for name, scheme in GRAMMARS.items() if set(letters) <= set(scheme.letters)]


def name_of(grammar: str, tags: Iterable[str], spelling: Spelling) -> str:
    """The name of a scheme in the letters that these tags have: BILOU rather than IOBES where there is a U.

    >>> name_of("IOBES", ["O", "B-X", "M-X", "S-X"], Spelling("letter first"))
    'BMES'
    """
    if grammar != "IOBES" or spelling.form not in WITH_LETTERS:
        return grammar
    letters = {tag[WITH_LETTERS[spelling.form]].upper() for tag in tags if tag not in ("O", "o")}
    for name, own in (("BILOU", "LU"), ("BMEWO", "W"), ("BMES", "M")):
        if letters & set(own):
            return name
    return grammar
