"""A small prepared source, and small tasks in files, shared by the tests of what stands on them."""

import json
from pathlib import Path

import pytest

from data.config import TextData
from data.errors import DataError
from data.prepared import open_prepared
from data.sources import Synthetic
from data.tasks.choices import MultiLabel
from data.tasks.config import TaskData
from data.tasks.opened import open_task
from data.tasks.sources import TaskFiles
from data.tokenizers import Bytes, WordPiece, open_tokenizer

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def toy() -> TextData:
    """A few hundred synthetic documents in rows of 64, several windows an epoch."""
    return TextData(Synthetic(120), WordPiece(400), row_length=64, batch_size=8, window=40)


@pytest.fixture(scope="session")
def prepared(toy):
    """The toy source, prepared once."""
    return open_prepared(toy)


@pytest.fixture(scope="session")
def python_docs():
    """The embedded default, prepared once with a small vocabulary."""
    return open_prepared(TextData(tokenizer=WordPiece(2_000)))


@pytest.fixture
def published():
    """A file of ../shared/data; the test is skipped, loudly, where that folder is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.is_file():
            pytest.skip(f"needs the published file {name}, looked for in {SHARED.resolve()}")
        return path

    return find


@pytest.fixture
def files(tmp_path):
    """Writes examples with these labels, one part or two; JSON values as .jsonl, `cells` as .tsv. Gives the source."""

    def write(*parts, cells=False, **more):
        paths = []
        for number, labels in enumerate(parts):
            path = tmp_path / f"{number}.{'tsv' if cells else 'jsonl'}"
            texts = [f"text {at} of {number}" for at in range(len(labels))]
            if cells:
                rows = ["text\tlabel", *(f"{text}\t{label}" for text, label in zip(texts, labels, strict=True))]
            else:
                objects = [{"text": t, "label": label} | more for t, label in zip(texts, labels, strict=True)]
                rows = [json.dumps(one) for one in objects]
            path.write_text("\n".join(rows) + "\n")
            paths.append(str(path))
        return TaskFiles(paths[0], paths[-1])

    return write


@pytest.fixture
def read():
    """read(task, source): labels of the training and of the held-out part, the task's labels, and what was said."""

    def opened(task, source):
        said: list[str] = []
        found = open_task(TaskData(task, source), open_tokenizer(Bytes()), said.append)
        role = "labels" if isinstance(task, MultiLabel) else "label"
        trained, held_out = ([example[role] for example in part.examples] for part in (found.train, found.valid))
        return trained, held_out, found.valid.labels, said

    return opened


@pytest.fixture
def refused(read):
    """refused(task, source, *words): reading is refused in one line that holds these words."""

    def tried(task, source, *words):
        with pytest.raises(DataError) as caught:
            read(task, source)
        line = str(caught.value)
        assert "\n" not in line and all(word in line for word in words), line

    return tried
