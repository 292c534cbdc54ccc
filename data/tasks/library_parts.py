"""The embedded task: which part of the running Python's standard library does a docstring document?

A part is a package or a module of the library, with all below it. Those are taken that have the most docstrings, a dozen
of them, private ones left out. A text does not name its own part: the words of its path are taken out. Held out are whole
classes and functions, a share of each part, by a hash of their names; and of those texts none has more than half of its
triples of words in one training text, so that copies do not leak.

On CPython 3.11.7 these are 1,546 texts to train on and 258 held out, of which the largest part, tkinter, has 0.182; naive
Bayes on words tells 0.837 of them. A model that was trained on `python_docs` has read the texts before, though with the names
in them and without these labels.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from data.corpus import library
from data.errors import DataError
from data.tasks.tables import Record, Table

PARTS = 12
HELD_OUT, AT_MOST = 0.15, 0.3  # of the docstrings of each part
COPIED = 0.5  # of the triples of words of a text, in one other text
SHORTEST = 40  # letters that a text keeps when the names are out
GAP = "it"  # what stands where a name was


def tables() -> tuple[Table, Table]:
    """The training part and the held-out part, in the order of the library."""
    texts = [(name, text) for name, text in library.documentation() if not name.startswith("topics/")]
    counts = Counter(part_of(name) for name, _ in texts)
    public = [part for part in counts if not part.startswith("_")]
    parts = sorted(public, key=lambda part: (-counts[part], part))[:PARTS]
    if len(parts) < 2:
        raise DataError(
            "this Python has no docstrings in its library; name a source with --data.source files:TRAIN|VALID"
        )
    records = [_record(name, text) for name, text in texts if part_of(name) in parts]
    records = [record for record in records if sum(map(str.isalpha, record.columns["text"])) >= SHORTEST]
    apart = {
        unit for part in parts for unit in held_out_units([r.place for r in records if r.columns["label"] == part])
    }
    train = [record for record in records if unit_of(record.place) not in apart]
    known = CopyIndex([record.columns["text"] for record in train])
    valid = [
        record for record in records if unit_of(record.place) in apart and not known.copied(record.columns["text"])
    ]
    return Table(train, {"label": tuple(sorted(parts))}), Table(valid)


def part_of(name: str) -> str:
    """The part that a docstring is from.

    >>> part_of("email/mime/base.py:MIMEBase.__init__"), part_of("turtle.py:Turtle")
    ('email', 'turtle')
    """
    return name.split(":")[0].split("/")[0].removesuffix(".py")


def without_names(text: str, name: str) -> str:
    """A text without the names of its module, of what stands above it, and of words that hold them.

    >>> without_names("Emit an email.message object; mail it.", "email/message.py:Message")
    'Emit an it object; mail it.'
    """
    path = name.split(":")[0].removesuffix(".py")
    words = {word for word in path.split("/") if word != "__init__"}
    words |= {piece for word in words for piece in word.split("_") if len(piece) > 3} | {part_of(name)}
    words |= {word.removesuffix("s") for word in words if len(word) > 4}
    found = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return re.sub(rf"[\w.]*(?:{found})[\w.]*\w|[\w.]*(?:{found})", GAP, text, flags=re.IGNORECASE)


def unit_of(name: str) -> str:
    """What is held out as a whole: the outermost class or function of a module, with all in it.

    >>> unit_of("turtle.py:Turtle:forward")
    'turtle.py:Turtle'
    """
    return ":".join(name.split(":")[:2])


def held_out_units(names: Sequence[str]) -> set[str]:
    """Of the docstrings of one part the units that are held out: those of the smallest hashes, a very large one never."""
    sizes = Counter(map(unit_of, names))
    held_out, taken = set(), 0
    for unit in sorted(sizes, key=lambda unit: hashlib.sha256(unit.encode()).digest()):
        if taken >= HELD_OUT * len(names):
            break
        if taken + sizes[unit] <= AT_MOST * len(names):
            held_out.add(unit)
            taken += sizes[unit]
    return held_out


class CopyIndex:
    """Texts by their triples of words, to find one that another is a copy of.

    >>> known = CopyIndex(["Return the number of items in the list.", "Nothing else."])
    >>> known.copied("return the number of items in the tuple"), known.copied("Return a list of all the items")
    (True, False)
    """

    def __init__(self, texts: Sequence[str]):
        self.texts_with: dict[tuple[str, ...], list[int]] = {}
        for number, text in enumerate(texts):
            for triple in triples(text):
                self.texts_with.setdefault(triple, []).append(number)

    def copied(self, text: str) -> bool:
        """Whether one of the texts has more than half of the triples of this one."""
        mine = triples(text)
        shared = Counter(number for triple in mine for number in self.texts_with.get(triple, ()))
        return max(shared.values(), default=0) > COPIED * len(mine)


def triples(text: str) -> set[tuple[str, ...]]:
    """Words of a text, three by three."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[place : place + 3]) for place in range(len(words) - 2)}


def _record(name: str, text: str) -> Record:
    return Record({"text": without_names(text, name), "label": part_of(name)}, name)
