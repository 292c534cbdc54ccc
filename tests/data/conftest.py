"""A small prepared source, shared by the tests of what stands on it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.config import TextData
from data.prepared import open_prepared
from data.sources import Synthetic
from data.tokenizers import WordPiece

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def silent(message: str) -> None:
    """Nothing to say in a test."""


@pytest.fixture(scope="session")
def toy() -> TextData:
    """A few hundred synthetic documents in rows of 64, several windows an epoch."""
    return TextData(Synthetic(300), WordPiece(400), row_length=64, batch_size=8, window=100)


@pytest.fixture(scope="session")
def prepared(toy):
    """The toy source, prepared once."""
    return open_prepared(toy, say=silent)


@pytest.fixture(scope="session")
def python_docs():
    """The embedded default, prepared once with a small vocabulary."""
    return open_prepared(TextData(tokenizer=WordPiece(2_000)), say=silent)


@pytest.fixture
def published():
    """A file of ../shared/data; the test is skipped, loudly, where that folder is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.is_file():
            pytest.skip(f"needs the published file {name}, looked for in {SHARED.resolve()}")
        return path

    return find


def arrays(batch) -> dict[str, np.ndarray]:
    """All arrays of a batch or row by name, labels among them."""
    fields = dict(batch._asdict())
    return {name: value for name, value in (fields | fields.pop("labels")).items() if value is not None}


def same(one, other) -> bool:
    """Whether two batches or rows are equal in every array, and in its type."""
    left, right = arrays(one), arrays(other)
    return left.keys() == right.keys() and all(
        left[n].dtype == right[n].dtype and np.array_equal(left[n], right[n]) for n in left
    )


def change(data: TextData, **fields) -> TextData:
    """The same choices but for these."""
    return dataclasses.replace(data, **fields)
