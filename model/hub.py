"""The files of a published folder: config.json and safetensors, in and out; the one door to `safetensors`.

Nothing of a file is held longer than it is used: tensors are read in parts, and written a file at a time. What stands in the
files is the business of model/weights.py.
"""

import glob
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from model.foreign import explained, read_json, reason
from model.headers import Entry, read_header
from model.published import HubError, several

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # of the floating-point types that are read
FILE_BYTES = 5_000_000_000  # of a file that is written; what is more goes to another


class Tensors:
    """The tensors of one or several safetensors files by name, read in parts and never all at once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._file: dict[str, Path] = {}
        self._entry: dict[str, Entry] = {}
        listed = self._listed()
        for path in sorted({*listed.values()} or {folder / WEIGHTS}):
            self._note(path)
        if missing := sorted(set(listed) - set(self._file)):
            raise HubError(
                f"{folder / INDEX} lists tensors that are in no file: {several(missing)}; copy the folder again"
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._entry[name].shape

    def kind(self, name: str) -> str:
        """The type of a tensor's numbers in the words of the format, as F32."""
        return self._entry[name].kind

    def bytes(self, name: str) -> int:
        """Bytes of a tensor."""
        return math.prod(self.shape(name)) * BYTES.get(self.kind(name), 1)

    def read(self, name: str, box: tuple[slice, ...]) -> np.ndarray:
        """A part of a tensor. The file is opened for it alone: pages that stay mapped would count as memory in use."""
        with opened(self._file[name]) as file:
            return np.asarray(file.get_slice(name)[box] if box else file.get_tensor(name))

    def _listed(self) -> dict[str, Path]:
        """Files by the names of their tensors, as an index lists them; nothing where there is but one file."""
        folder = self.folder
        if (folder / INDEX).is_file():
            weight_map = read_json(folder / INDEX, HubError).get("weight_map")
            if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
                raise HubError(f"{folder / INDEX} has no weight_map from tensors to files; copy it again")
            if strange := sorted({file for file in weight_map.values() if not _is_plain(file)}):
                raise HubError(
                    f"{folder / INDEX} lists {several(strange)}, where only names of .safetensors files beside it may stand; "
                    "put all files into one folder, and their names into the index"
                )
            files = {name: folder / file for name, file in weight_map.items()}
            if missing := sorted({path.name for path in files.values() if not path.is_file()}):
                raise HubError(
                    f"{folder} lacks {several(missing)}, which its {INDEX} lists; copy the missing files too"
                )
            return files
        if (folder / WEIGHTS).is_file():
            return {}
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise HubError(
                f"{folder} has its weights in {pickles[0]}, a pickle, which may run any program when it is opened; if you "
                f"trust it, have transformers write {WEIGHTS}: from_pretrained(...) and then save_pretrained(...)"
            )
        raise HubError(f"{folder} has no weights, neither {WEIGHTS} nor {INDEX}; copy them too")

    def _note(self, path: Path) -> None:
        for name, entry in read_header(path).items():
            if name in self._file:
                raise HubError(f"{self.folder} has {name} in {self._file[name].name} and in {path.name}; keep one")
            self._file[name], self._entry[name] = path, entry


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file. HubError if it is damaged."""
    from safetensors import safe_open

    with explained(path, HubError, said="is truncated or damaged"), safe_open(path, "np") as file:
        yield file


def _is_plain(file: str) -> bool:
    r"""Whether an index may list this: the name of a file, and no way to another folder.

    >>> _is_plain("model-00001-of-00002.safetensors"), _is_plain("../x.safetensors"), _is_plain("C:\\x.safetensors")
    (True, False, False)
    """
    return file.endswith(".safetensors") and not set("/\\\0:") & set(file)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as the published tools do."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_new(path: str | Path) -> Path:
    """The path, at which a folder may be written: nothing is there yet, or a folder that is empty. HubError otherwise."""
    path = Path(os.path.expanduser(path))
    if why := no_room(path):
        raise HubError(f"{path} cannot be written ({why}); name another")
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise HubError(f"{path} is there already and is not empty; name a new folder, or remove it yourself")
    return path


def no_room(path: Path) -> str:
    """Why nothing can be made at a path, with the folders that lead to it; empty where it can be."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        return reason(error)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        return f"{above} is a file, not a folder"
    return "" if os.access(above, os.W_OK | os.X_OK) else f"{above} may not be written"


def new_folder(path: str | Path) -> Path:
    """A folder beside `path` to be filled before it takes that name; HubError if something is at `path` already."""
    path = check_new(path)
    temporary = temporary_of(path)
    for left in (*abandoned(path), temporary):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def temporary_of(path: str | Path, word: str = "") -> Path:
    """Where this process writes what is to lie at `path`: the name says who writes, so that what a kill leaves can be told."""
    path = Path(os.path.expanduser(path))
    return path.with_name(f".{path.name}.loupe-{platform.node()}-{word}{os.getpid()}")


def abandoned(path: Path) -> list[Path]:
    """What processes of this machine that are no more have left of writing to `path`."""
    found = []
    for left in path.parent.glob(glob.escape(f".{path.name}.loupe-{platform.node()}-") + "*"):
        number = left.name.rpartition("-")[2]
        if number.isdecimal() and left.is_dir() and not left.is_symlink() and not runs(int(number)):
            found.append(left)
    return found


def runs(number: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def write_tensors(folder: Path, tensors: Iterable[tuple[str, np.ndarray]], *, file_bytes: int = FILE_BYTES) -> None:
    """Write tensors into one file, or into several with an index where they are more than `file_bytes`."""
    groups: list[Path] = []
    held: dict[str, np.ndarray] = {}
    where: dict[str, int] = {}
    total = held_bytes = 0

    def close() -> None:
        groups.append(folder / f"part-{len(groups)}.safetensors")
        save_tensors(groups[-1], held)
        where.update(dict.fromkeys(held, len(groups) - 1))
        held.clear()

    for name, tensor in tensors:
        if held and held_bytes + tensor.nbytes > file_bytes:
            close()
            held_bytes = 0
        held[name] = tensor
        held_bytes, total = held_bytes + tensor.nbytes, total + tensor.nbytes
    close()
    if len(groups) == 1:
        groups[0].replace(folder / WEIGHTS)
        return
    names = [f"model-{number:05}-of-{len(groups):05}.safetensors" for number in range(1, len(groups) + 1)]
    for path, name in zip(groups, names, strict=True):
        path.replace(folder / name)
    weight_map = {name: names[number] for name, number in sorted(where.items())}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def save_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write tensors into one safetensors file. OSError, with its name, where the disk does not take it."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # The library writes the memory of an array as it lies: one that is not contiguous would come out permuted, silently.
    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    try:
        save_file(whole, path, metadata={"format": "pt"})
    except SafetensorError as error:  # "... I/O error: No space left on device (os error 28)"
        if (number := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
