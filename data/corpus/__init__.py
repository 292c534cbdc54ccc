"""The text behind each source; the one door to `tensorflow_datasets`.

`open_corpora(source)` gives one `Corpus` a source, several for a mixture. A corpus can be read again and again, always
in the same order, and has a fingerprint that is known before it is read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.sentences import PAIR
from data.sources import TFDS, Files, Mixture, Pairs, PythonDocs, PythonSource, Source, Synthetic, parse_source
from data.synthetic_tasks import CopyTask, ModularArithmetic, RepeatedBlocks

LARGE_BYTES = 64 * 2**20  # from here on, preparing takes longer than a user should wait without having asked


@dataclass(frozen=True)
class Corpus:
    """Documents of one source. `large` ones are prepared only when asked for by name.

    Those of `pairs` are two texts with `PAIR` between them; in other documents that character counts as a space.
    """

    word: str
    weight: float
    fingerprint: str
    large: bool
    read: Callable[[], Iterator[str]]
    pairs: bool = False

    def texts(self) -> Iterator[str]:
        """The documents, without those that hold nothing but white space."""
        texts = self.read() if self.pairs else (text.replace(PAIR, " ") for text in self.read())
        return (text for text in texts if text and not text.isspace())


def open_corpora(source: Source, *, fetch: bool = False, say: Callable[[str], None] = print) -> list[Corpus]:
    """The corpora of a source, in its order. With `fetch`, data sets of TFDS are downloaded and prepared first."""
    if isinstance(source, Mixture):
        total = sum(source.weights)
        parts = zip(source.sources, source.weights, strict=True)
        corpora = [_open(parse_source(word), weight / total, fetch, say) for word, weight in parts]
        if len({corpus.pairs for corpus in corpora}) > 1:
            raise DataError(f"{source} mixes pairs of texts with single texts; name sources of one of the two kinds")
        return corpora
    return [_open(source, 1.0, fetch, say)]


def _open(source: Source, weight: float, fetch: bool, say: Callable[[str], None]) -> Corpus:
    match source:
        case PythonDocs() | PythonSource():
            from data.corpus import embedded

            kind = str(source)
            return Corpus(kind, weight, embedded.fingerprint(kind), False, lambda: embedded.read(kind))
        case TFDS():
            from data.corpus import tfds_door

            opened = tfds_door.open_named(source, fetch=fetch, say=say)
            return Corpus(str(source), weight, opened.fingerprint, True, opened.read, pairs=">" in source.field)
        case Files():
            from data.corpus import files

            paths = files.match(source.glob)
            found = files.fingerprint(paths, source)
            return Corpus(str(source), weight, found, _large(paths), lambda: files.read(paths, source))
        case Pairs():
            from data.corpus import pairs

            paths = pairs.find(source)
            found = pairs.fingerprint(paths, source)
            return Corpus(str(source), weight, found, _large(paths), lambda: pairs.read(paths, source), pairs=True)
        case Synthetic():
            from data.corpus import synthetic

            large = source.documents * synthetic.DOCUMENT_BYTES > LARGE_BYTES
            return Corpus(str(source), weight, f"{source!r} 1", large, lambda: synthetic.read(source))
        case ModularArithmetic() | RepeatedBlocks() | CopyTask():
            from data.corpus import tasks

            paired, large = isinstance(source, CopyTask), tasks.characters(source) > LARGE_BYTES
            return Corpus(str(source), weight, f"{source!r} 1", large, lambda: tasks.read(source), pairs=paired)
    raise TypeError(f"{source!r} is not a source")


def _large(paths: list[Path]) -> bool:
    return sum(path.stat().st_size for path in paths) > LARGE_BYTES
