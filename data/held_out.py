"""The held-out split as text, one small file that a run folder keeps: evaluation then needs the run folder only."""

import gzip
import io
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.corpus import open_corpora
from data.documents import MemoryDocuments
from data.errors import DataError
from data.foreign import decode_json
from data.sentences import encode_documents, text_bytes
from data.sources import Source
from data.tokenizers import Tokenizer

if TYPE_CHECKING:
    from data.prepared import Prepared

HELD_OUT = "held_out.jsonl.gz"
MOST_BYTES = 256 << 20  # of held-out text


def write_held_out(prepared: "Prepared", folder: str | Path) -> Path:
    """Copy the held-out split into a run folder; the file of equal data is equal to the byte."""
    target = Path(folder) / HELD_OUT
    temporary = target.with_name(f".{HELD_OUT}-{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(prepared.folder / HELD_OUT, temporary)
    temporary.replace(target)
    return target


def open_held_out(folder: str | Path, tokenizer: Tokenizer) -> MemoryDocuments:
    """The held-out documents of a run folder, tokenised."""
    return from_texts(read_texts(folder), tokenizer)


def held_out_from_source(source: Source, tokenizer: Tokenizer, *, most: int = 10_000) -> MemoryDocuments:
    """Somebody's own text, whole, tokenised with the tokenizer of a run; at most so many documents of each corpus."""
    texts = [text for corpus in open_corpora(source) for text in islice(corpus.texts(), most)]
    if not texts:
        raise DataError(f"{source} holds no text to evaluate on")
    return from_texts(texts, tokenizer)


def from_texts(texts: Sequence[str], tokenizer: Tokenizer) -> MemoryDocuments:
    """Documents in memory, from their text."""
    size = sum(map(text_bytes, texts))
    return MemoryDocuments(encode_documents(texts, tokenizer), tokenizer.special, size=size)


def write_texts(folder: Path, texts: Sequence[str]) -> None:
    """One JSON object a line, gzipped without a name or a date in it."""
    content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(content.encode("utf-8", "replace"))
    (folder / HELD_OUT).write_bytes(buffer.getvalue())


def read_lines(path: Path) -> list[Any]:
    """The values of a gzipped file with one JSON value a line; ValueError for more text than a held-out part has."""
    with gzip.open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it holds more than {MOST_BYTES:,} bytes of text")
    return [decode_json(line) for line in content.split(b"\n") if line]


def read_texts(folder: str | Path) -> list[str]:
    """The texts of a held-out file."""
    path = Path(folder) / HELD_OUT
    try:
        return [str(line["text"]) for line in read_lines(path)]
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {HELD_OUT} in {folder}; name a run folder, or a text with --data.source"
        ) from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); name a text with --data.source") from error
