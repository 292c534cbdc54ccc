"""The door to `tensorflow_datasets`, always as ArrayRecord, so that TensorFlow is never needed."""

import contextlib
import difflib
import io
import logging
import os
import re
import shlex
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import DataError, NotPrepared
from data.sentences import PAIR
from data.sources import TFDS


def build_embedded(kind: str, data_dir: Path) -> Path:
    """Build `python_docs` or `python_source` under `data_dir`; the folder of its one version."""
    import importlib

    tfds = _tfds()
    importlib.import_module(f"data.corpus.{kind}")  # registers the builder under its name
    builder = tfds.builder(kind, data_dir=str(data_dir), file_format="array_record")
    with _quiet():
        builder.download_and_prepare()
    return Path(builder.data_path)


def read_version(folder: Path, split: str) -> Iterator[dict]:
    """The examples of a prepared version, in order; text comes as bytes."""
    source = _tfds().builder_from_directory(str(folder)).as_data_source(split=split)
    for start in range(0, len(source), 256):
        yield from source.__getitems__(range(start, min(start + 256, len(source))))


@dataclass(frozen=True)
class Named:
    """A prepared data set of TFDS."""

    fingerprint: str
    read: Callable[[], Iterator[str]]


def open_named(source: TFDS, *, fetch: bool, say: Callable[[str], None] = print) -> Named:
    """Find a data set by its name, or build it first where `fetch` says so."""
    builder = _builder(source)
    if not (Path(builder.data_path) / "dataset_info.json").is_file():
        if not fetch:
            word = shlex.quote(str(source))
            raise NotPrepared(f"{source} is not prepared in {builder.data_dir}", ("--data.source", word))
        _fetch(builder, source, say)
    info = builder.info
    _check_format(info, source, builder.data_path)
    features = getattr(info.features, "keys", list)()
    fields = source.field.split(">")
    for field in fields:
        if field not in features:
            raise DataError(f"{source} has no feature '{field}'; choose one of {', '.join(sorted(features))}, "
                            f"as in tfds:{source.dataset}#{'>'.join(sorted(features)[: len(fields)])}")  # fmt: skip
    if source.split not in info.splits:
        raise DataError(f"{source} has no split '{source.split}'; choose one of {', '.join(info.splits)}")
    split = info.splits[source.split]
    fingerprint = f"{info.full_name} {source.split} {source.field} {split.num_examples} {split.num_bytes}"

    def read() -> Iterator[str]:
        for example in read_version(Path(builder.data_path), source.split):
            texts = [_text(example[field], field, source) for field in fields]
            if len(fields) == 1:
                yield texts[0]
            elif all(sides := [text.replace(PAIR, " ").strip() for text in texts]):  # some published pairs lack a side
                yield PAIR.join(sides)

    return Named(fingerprint, read)


def open_table(
    dataset: str,
    split: str,
    word: str,
    *,
    fetch: bool,
    say: Callable[[str], None] = print,
    numbers: Collection[str] = (),
) -> tuple[list[tuple[dict[str, Any], str]], dict[str, tuple[str, ...]]]:
    """The examples of a split as (columns, place), bytes as text, and the names of classes by their column, in their order.

    Classes stand under their names but in the columns of `numbers`; -1, where nothing is labelled, stays a number.
    """
    source = TFDS(dataset)
    builder = _builder(source)
    if not (Path(builder.data_path) / "dataset_info.json").is_file():
        if not fetch:
            raise NotPrepared(f"{word} is not prepared in {builder.data_dir}", ("--data.source", shlex.quote(word)))
        _fetch(builder, source, say)
    info = builder.info
    _check_format(info, word, builder.data_path)
    if split not in info.splits:
        raise DataError(f"{word} has no split '{split}'; choose one of {', '.join(info.splits)}, as in "
                        f"tfds:{dataset}|train|{list(info.splits)[-1]}")  # fmt: skip
    classes = {}
    for name, feature in info.features.items():
        if names := getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None):
            classes[name] = tuple(names)
    examples = enumerate(read_version(Path(builder.data_path), split))
    naming = {name: named for name in info.features if name not in numbers and (named := _naming(info.features[name]))}

    def columns(example: dict[str, Any]) -> dict[str, Any]:
        found = _plain(example)
        return found | {name: named(found[name]) for name, named in naming.items() if name in found}

    return [(columns(example), f"tfds:{dataset} {split} example {number}") for number, example in examples], classes


def _naming(feature: Any) -> Callable[[Any], Any] | None:
    """What puts the names of classes into the place of their numbers in a value of a feature; None where it has no classes."""
    if (inner := getattr(feature, "feature", None)) is not None:  # a sequence; one of dicts is kept as a dict of lists
        if (named := _naming(inner)) is None:
            return None
        if not hasattr(inner, "items"):
            return lambda value: [named(item) for item in value]
        parts = {name: part for name, item in inner.items() if (part := _naming(item))}
        return lambda value: value | {name: [part(item) for item in value[name]] for name, part in parts.items()}
    if hasattr(feature, "items"):
        parts = {name: part for name, item in feature.items() if (part := _naming(item))}
        return (lambda value: value | {name: part(value[name]) for name, part in parts.items()}) if parts else None
    if not (names := tuple(getattr(feature, "names", None) or ())):
        return None
    return lambda value: names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _check_format(info: Any, word: object, folder: object) -> None:
    if info.file_format.value != "array_record":
        raise DataError(f"{word} was prepared as {info.file_format.value}, which needs TensorFlow to read; move {folder} away, "
                        "and prepare it again")  # fmt: skip


def _plain(value: Any) -> Any:
    """Bytes as text, arrays as lists, numbers of NumPy as Python's."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def _text(value: object, field: str, source: TFDS) -> str:
    if not isinstance(value, bytes | str):
        raise DataError(f"feature '{field}' of {source} is not text but {type(value).__name__}")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _builder(source: TFDS):
    import importlib

    tfds = _tfds()
    for kind in (
        "text",
        "summarization",
        "translate",
    ):  # registers wikipedia, c4, glue; xsum; wmt14_translate, and others
        importlib.import_module(f"tensorflow_datasets.{kind}")
    with _one_line(source), _quiet():
        try:
            return tfds.builder(source.dataset, data_dir=os.environ.get("TFDS_DATA_DIR"), file_format="array_record")
        except tfds.core.registered.DatasetNotFoundError as error:
            known = tfds.list_builders(with_community_datasets=False)
            near = difflib.get_close_matches(re.split("[/:]", source.dataset)[0], known, n=3)
            hint = (
                f"did you mean {' or '.join(f'tfds:{name}' for name in near)}?"
                if near
                else "see tensorflow.org/datasets"
            )
            raise DataError(f"TFDS knows no data set '{source.dataset}'; {hint}") from error


def _fetch(builder, source: TFDS, say: Callable[[str], None]) -> None:
    if not _resolves():
        say(f"No network seems to be there: TFDS will try to download {source} for some minutes before it gives up.")
    tfds = _tfds()
    with _one_line(source):
        # Wikipedia and C4 are built with Apache Beam, on this machine unless the user's own environment says otherwise.
        builder.download_and_prepare(file_format="array_record", download_config=tfds.download.DownloadConfig())


@contextlib.contextmanager
def _one_line(source: TFDS):
    """What TFDS raises, as one line with a remedy."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        missing = (re.findall(r"No module named '([\w.]+)'", str(error)) or [error.name or "a module"])[0]
        remedy = "pip install apache-beam" if "beam" in missing else f"install {missing}, or choose another data set"
        raise DataError(f"{source} cannot be built without the package {missing}; {remedy}") from error
    except OSError as error:
        raise DataError(f"{source} could not be downloaded or written ({type(error).__name__}: {_first_line(error)}); check "
                        "the network and the disk, then run the command again") from error  # fmt: skip
    except Exception as error:
        reason = re.sub(r"^Failed to construct dataset .*?}\": ", "", _first_line(error))
        if "BuilderConfig" in reason:
            reason = _no_config(source)
        raise DataError(f"TFDS cannot open {source}: {reason}") from error


def _no_config(source: TFDS) -> str:
    name, _, config = source.dataset.partition(":")[0].partition("/")
    known = list(_tfds().builder_cls(name).builder_configs)
    if not known:
        return f"it has no configs; write tfds:{name}"
    near = difflib.get_close_matches(config, known, n=3) or known[:3]
    return f"it has no config '{config}'; its {len(known)} configs include {', '.join(near)}"


def _first_line(error: object) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _tfds() -> Any:
    import tensorflow_datasets as tfds

    return tfds


@contextlib.contextmanager
def _quiet():
    """No progress bars and no advice about TensorFlow in the middle of our own lines."""
    tfds = _tfds()
    tfds.disable_progress_bar()
    level = logging.getLogger().level
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().setLevel(level)
        tfds.enable_progress_bar()


def _resolves() -> bool:
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        return bool(socket.getaddrinfo("storage.googleapis.com", 443))
    except OSError:
        return False
