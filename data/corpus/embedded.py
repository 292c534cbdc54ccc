"""The two sources that every Python carries, as TFDS data sets built once into the cache folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from data.cache import built_whole, cache_folder, identity
from data.corpus import library, tfds_door

VERSION = "1.0.0"


def fingerprint(kind: str) -> str:
    """What decides the documents: the builder's version and the Python whose library they are."""
    return f"{kind} {VERSION} {library.library_key()}"


def read(kind: str) -> Iterator[str]:
    """The documents of `python_docs` or `python_source`; builds the TFDS data set on first use."""
    for example in tfds_door.read_version(_prepared(kind), "train"):
        yield example["text"].decode("utf-8")


def _prepared(kind: str) -> Path:
    """The folder of the prepared version, where `tfds.builder(kind, data_dir=...)` finds it too."""
    version = cache_folder() / "tfds" / kind / library.library_key() / VERSION
    if not (version / "dataset_info.json").is_file():
        with built_whole(version, identity(version)) as folder:
            built = tfds_door.build_embedded(kind, folder / "data_dir")
            for path in built.iterdir():
                path.rename(folder / path.name)
            shutil.rmtree(folder / "data_dir")
    return version
