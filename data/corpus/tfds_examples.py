"""Examples of a data set of TFDS with all their columns, read without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np

from data.corpus import tfds_door
from data.errors import DataError
from data.sources import TFDS

HELD_OUT = ("validation", "validation_matched", "test")


def read(dataset: str) -> tuple[list[dict[str, Any]] | None, list[dict[str, Any]]]:
    """The training examples, None where there are none, and the held-out ones, of a data set that lies prepared."""
    builder: Any = tfds_door._builder(TFDS(dataset))
    if not (Path(builder.data_path) / "dataset_info.json").is_file():
        raise DataError(f"tfds:{dataset} is not prepared in {builder.data_dir}; download it once with python -c \"import "
                        f"tensorflow_datasets as t; t.builder('{dataset}', file_format='array_record')"
                        '.download_and_prepare()", or name local files')  # fmt: skip
    if builder.info.file_format.value != "array_record":
        raise DataError(f"tfds:{dataset} was prepared as {builder.info.file_format.value}, which needs TensorFlow to read; "
                        f"move {builder.data_path} away, and prepare it again")  # fmt: skip
    splits = builder.info.splits
    held_out = next((name for name in HELD_OUT if name in splits), None)
    if held_out is None:
        raise DataError(f"tfds:{dataset} has no held-out split, only {', '.join(splits)}; name files instead")

    def examples(split: str) -> list[dict[str, Any]]:
        return [plain(example) for example in tfds_door.read_version(Path(builder.data_path), split)]

    return (examples("train") if "train" in splits else None), examples(held_out)


def plain(value: Any) -> Any:
    """Bytes as text, arrays as lists.

    >>> plain({"text": b"a", "label": np.int64(1), "choices": {"text": np.array([b"x"], object)}})
    {'text': 'a', 'label': 1, 'choices': {'text': ['x']}}
    """
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value
