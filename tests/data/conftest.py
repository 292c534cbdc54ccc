"""A small prepared source, shared by the tests of what stands on it."""

from pathlib import Path

import pytest

from data.config import TextData
from data.prepared import open_prepared
from data.sources import Synthetic
from data.tokenizers import WordPiece

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
