"""The scheme of a tagging task, found in its examples or named, and every part of the examples brought into it.

A part in another scheme than the task's, clearly so, is rewritten: the same spans in the tags that the task has. So a head whose
tags are BIOES is scored on files in IOB1, and a training part in IOB1 goes with a held-out part in IOB2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from data.errors import DataError
from data.tasks import tag_schemes as schemes
from data.tasks.choices import Tagging
from data.tasks.example_parts import line_of_word
from data.tasks.examples import Example
from data.tasks.label_reading import Known
from data.tasks.naming import read_tags
from data.tasks.tag_schemes import Fit, Spelling, Tag

CLEARLY = 10  # another scheme fits where it has so many times fewer tags outside of spans
Say = Callable[[str], None]
Parts = list[list[Example]]


def in_one_scheme(
    task: Tagging, parts: Parts, classes: Mapping[str, tuple[str, ...]], say: Say, known: Known = "task"
) -> tuple[Tagging, Parts]:
    """The task with the name of its scheme, and the parts of its examples (training first) with tags of that scheme.

    `classes` are the names of the classes that a source numbers, by column; `known` is who says which labels there are. How
    numbers are read, and what was found, rewritten or does not fit, is said.
    DataError where tags spell no spans and the task scores spans, or where two schemes fit equally badly.
    """
    labels = task.labels or next((classes[name] for name in task.tags if name in classes), None)
    if labels is not None:
        parts = read_tags(task, parts, labels, say, known)
    if task.scheme is None:
        return task, parts
    used = {tag for part in parts for example in part for tag in example["tags"]}
    spelling = _spelling(task, used if labels is None else set(labels), parts)
    if spelling is None:
        return replace(task, scheme=None), parts
    written = spelling if labels is None else _found(used, parts) or spelling
    read = [[[_read(tag, written, e, at) for at, tag in enumerate(e["tags"])] for e in part] for part in parts]
    letters = _letters(read[0])
    found = schemes.fits(read[0], schemes.grammars_with(letters))[0]
    # A letter that the training part happens to lack is of its scheme too, where that fits as well.
    wider = schemes.grammars_with({letter for part in read for letter in _letters(part)})
    if wider and (fit := schemes.fits(read[0], wider)[0]).odd <= found.odd:
        found = fit
    own = _grammars_of(labels, spelling) if labels is not None else []
    if task.scheme != "auto":
        grammar, name = schemes.NAMES[task.scheme][0], task.scheme
    else:
        _refuse_ties(found, letters, read, parts)
        grammar = found.grammar if labels is None or found.grammar in own else own[0]
        name = schemes.name_of(grammar, used if labels is None else labels, spelling)
        say(f"tags are read as {name}{_form(spelling)}; --data.task.scheme names another scheme")
    target = _Target(grammar, name, spelling, labels)
    parts = [target.brought(part, tags, say) for part, tags in zip(parts, read, strict=True)]
    return replace(task, scheme=name), parts


class _Target:
    """The scheme of a task, and how a tag of it is written."""

    def __init__(self, grammar: str, name: str, spelling: Spelling, labels: Sequence[str] | None):
        self.grammar, self.name, self.spelling = grammar, name, spelling
        self.letters = schemes.NAMES[name][1]
        self.known: dict[Tag, str] = {}
        for label in labels or ():
            if (tag := spelling.read(label)) is not None:
                self.known.setdefault(tag, label)
                self.known.setdefault(Tag(tag.letter, tag.kind.casefold()), label)
        self.fixed = labels is not None

    def write(self, tag: Tag) -> str:
        """The tag as the task's labels have it; one that they lack as it would be written."""
        folded = Tag(tag.letter, tag.kind.casefold())
        return self.known.get(tag) or self.known.get(folded) or self.spelling.write(tag, self.letters)

    def brought(self, part: list[Example], read: list[list[Tag]], say: Say) -> list[Example]:
        """The examples of a part with tags of this scheme, rewritten where they clearly are of another."""
        if not part:
            return part
        mine = schemes.fits(read, [self.grammar])[0]
        other = schemes.fits(read, schemes.grammars_with(_letters(read)))[0]
        words = sum(tag.letter != schemes.OUTSIDE for tags in read for tag in tags)
        own = schemes.GRAMMARS[self.grammar].letters
        rewritten = mine.odd and other.grammar != self.grammar and CLEARLY * other.odd <= mine.odd
        if self.grammar == "IO" and not _letters(read) <= set(own):  # any other scheme can be written so
            rewritten = True
        if rewritten:
            lost = "; spans of one type that touch become one" if self.grammar == "IO" else ""
            say(f"{_file(part)} is in the scheme {other.grammar}, and is rewritten to {self.name}{lost}")
        elif strange := next(((e, at) for e, tags in zip(part, read, strict=True)
                              for at, tag in enumerate(tags) if tag.letter not in schemes.OUTSIDE + own), None):  # fmt: skip
            example, at = strange
            raise DataError(f"{line_of_word(example.place, at)} has the tag {example['tags'][at][:60]}, whose letter the scheme "
                            f"{self.name} does not have; mend that line, or name another --data.task.scheme")  # fmt: skip
        elif mine.odd and mine.first is not None:
            example = part[mine.first[0]]
            say(f"{mine.odd} of {words} tags inside of spans do not fit {self.name} (the first: "
                f"{line_of_word(example.place, mine.first[1])}, {example['tags'][mine.first[1]]}); the strict score counts no "
                "span there")  # fmt: skip
        if not rewritten and not self.fixed:
            return part
        result = []
        for example, tags in zip(part, read, strict=True):
            if rewritten:
                tags = schemes.tags_of(schemes.every_span(tags, other.grammar), len(tags), self.grammar)
            result.append(replace(example, fields=example.fields | {"tags": [self.write(tag) for tag in tags]}))
        return result


def _spelling(task: Tagging, tags: set[str], parts: Parts) -> Spelling | None:
    """How tags are written; None where they spell no spans and none are scored."""
    spelling = _found(tags, parts)
    if spelling is not None or not any(metric.startswith("f1") for metric in task.metrics):
        return spelling
    example = next((example for part in parts for example in part), None)
    shown = ", ".join(sorted(tags)[:3])
    place = "" if example is None else f"{example.place}: "
    if all(tag.isdecimal() for tag in tags):
        raise DataError(f"{place}tags are numbers ({shown}); name them in their order, as in "
                        "--data.task.labels \"('O','B-PER','I-PER')\"")  # fmt: skip
    raise DataError(f"{place}tags such as {shown} spell no spans, which {task.metrics[0]} scores; tags are O and a letter of a "
                    "scheme with a type, as B-PER; for single tags use --data.task.scheme None --data.task.metrics "
                    "\"('accuracy',)\"")  # fmt: skip


def _found(tags: set[str], parts: Parts) -> Spelling | None:
    """How tags are written; what is wrong with one is told with its place."""
    try:
        return schemes.spelling_of(tags)
    except schemes.OddTag as error:
        places = (
            line_of_word(e.place, e["tags"].index(error.tag)) for part in parts for e in part if error.tag in e["tags"]
        )
        raise DataError(f"{next(places, 'the list of labels')}: {error}") from None


def _read(tag: str, spelling: Spelling, example: Example, word: int) -> Tag:
    found = spelling.read(tag)
    if found is None:
        raise DataError(f"{line_of_word(example.place, word)} has the tag {tag}, which is not written as the others are "
                        f"({spelling.form}); mend that line")  # fmt: skip
    return found


def _letters(read: list[list[Tag]]) -> set[str]:
    return {tag.letter for tags in read for tag in tags} - {schemes.OUTSIDE}


def _grammars_of(labels: Sequence[str], spelling: Spelling) -> list[str]:
    """The schemes that labels can be of: those with just their letters, or else with all of them."""
    letters = {tag.letter for label in labels if (tag := spelling.read(label))} - {schemes.OUTSIDE}
    every = schemes.grammars_with(letters)
    return [name for name in every if set(schemes.GRAMMARS[name].letters) == letters] or every


def _refuse_ties(found: Fit, letters: set[str], read: list[list[list[Tag]]], parts: Parts) -> None:
    """DataError where another scheme of the same letters fits about as badly."""
    rivals = [g for g in schemes.GRAMMARS if g != found.grammar and set(schemes.GRAMMARS[g].letters) == letters]
    if not found.odd or not rivals:
        return
    rival = schemes.fits(read[0], rivals)[0]
    if rival.odd <= 2 * found.odd and found.first is not None:
        example = parts[0][found.first[0]]
        raise DataError(f"{_file(parts[0])} mixes schemes: {found.odd} tags do not fit {found.grammar} (the first: "
                        f"{line_of_word(example.place, found.first[1])}) and {rival.odd} do not fit {rival.grammar}; mend the "
                        f"file, or name the one that is meant with --data.task.scheme {found.grammar}")  # fmt: skip


def _form(spelling: Spelling) -> str:
    """What is unusual about how tags are written, in words."""
    usual = {"letter first": "", "letter last": f", the letter behind the type ({spelling.mark}B)"}
    return (usual | {"letter only": ", letters without types", "type only": ", types without letters"})[spelling.form]


def _file(part: list[Example]) -> str:
    return part[0].place.rsplit(" line ", 1)[0].rsplit(" item ", 1)[0]
