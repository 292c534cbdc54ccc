"""The run folder: its file names, its small files, and what tells that one of them is not what was written.

`run.json` says in which format the folder is, and has a SHA-256 of every file that a run begins with and never changes, and of
itself. Folders of before, which say no format, are read as they are.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.cache import user_path
from data.errors import named
from data.foreign import one_line, read_json
from model.config import from_json
from train.base import KEPT
from train.config import Experiment
from train.record import number
from train.registry import no_model

FORMAT = 1
BEGUN = "run.json"
SORTED = "sorted"  # what run.json says of labels whose order is that of sorting, which nobody gave
SEALED = ("tokenizer", "held_out.jsonl.gz", "held_out_task.jsonl.gz", "data.json", "base.json", "config.json")
BEGINNING = (*SEALED, BEGUN, "checkpoints", KEPT)


class RunError(ValueError):
    """A run folder that is not what it should be; the message is one line with the remedy."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(one_line(message))


class RunFolder:
    """Paths and small files of a run folder. Nothing in it is ever deleted, and files are replaced atomically."""

    def __init__(self, path: str | Path):
        self.path = user_path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def exists(self) -> bool:
        """Whether a run has been begun here."""
        return os.path.lexists(self / "config.json")

    def create(self) -> None:
        """Make the folder, or fail with one line: it may be a file, unwritable, or hold something else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self / ".lock").open("a"):
                pass
        except FileExistsError as error:
            raise RunError(f"--run-dir {self.path} is a file, not a folder; name another") from error
        except OSError as error:
            raise RunError(f"--run-dir {self.path} cannot be written ({error.strerror}); name another") from error
        if self.exists():
            return
        if any((self / "checkpoints").glob("[0-9]*")):
            raise RunError(
                f"--run-dir {self.path} has checkpoints, but its config.json is gone; restore it, or name another"
            )
        if others := sorted(p.name for p in self.path.iterdir() if not is_beginning(p.name)):
            raise RunError(
                f"--run-dir {self.path} is not a run folder but holds {others[0]!r}; name an empty or new one"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process: two runs writing one folder would ruin both."""
        with (self / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"--run-dir {self.path} is in use by another process; wait for it or name another"
                ) from error
            yield

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON object of the folder, or None if it is not there."""
        if not os.path.lexists(path := self / name):
            return None
        return read_json(path, RunError, remedy="restore it from a copy, or name another --run-dir")

    def set_aside(self, name: str) -> str:
        """Move what is not what was written out of the way, if it is there; how that is said."""
        if not os.path.lexists(path := self / name):
            return ""
        aside, number = path.with_name(f"damaged-{name}"), 1
        while os.path.lexists(aside):
            number += 1
            aside = path.with_name(f"damaged-{number}-{name}")
        with named(path):
            path.rename(aside)
        return f"; what lies there was moved to {aside}"

    def write(self, name: str, value: Any) -> None:
        """Replace a JSON file: a reader sees the old one or the new one, whole."""
        self.write_text(name, self.text_of(value))

    def text_of(self, value: Any) -> str:
        """What `write` writes."""
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file, at one stroke."""
        temporary = self / f".{name}.{os.getpid()}"
        with named(self / name):
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self / name)

    def begun(self) -> dict[str, Any]:
        """What `run.json` says of the beginning; {} where it is gone. RunError for another format, or where it has changed."""
        said = self.read(BEGUN) or {}
        form = said.get("format", 0)
        if type(form) is not int or form not in (0, FORMAT):
            raise RunError(
                f"{self.path} is a run folder of format {form!r}, and this version knows format {FORMAT}; open it with the "
                "version that wrote it, which its environment.json names"
            )
        if (form or "digest" in said) and said.get("digest") != digest_of_json(said):
            raise RunError(f"{self / BEGUN} has changed since it was written; restore it from a copy")
        return said

    def labels_are_sorted(self) -> bool:
        """Whether the labels of the task were found in the training examples, so that no number is a place of theirs."""
        return self.begun().get("labels") == SORTED

    def write_begun(self, said: dict[str, Any]) -> None:
        """Replace `run.json`, with the number of the format and a digest of what it says."""
        said = {"format": FORMAT} | {name: value for name, value in said.items() if name != "digest"}
        self.write(BEGUN, said | {"digest": digest_of_json(said)})

    def seal(self, texts: dict[str, str] | None = None) -> dict[str, list[str]]:
        """Digests of the files that a run begins with, and of those that are still to be written, by their names."""
        roots = [self / name for name in SEALED if (self / name).exists()]
        files = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
        found = {str(path.relative_to(self.path)): [digest_of_file(path)] for path in files if path.is_file()}
        return found | {name: [digest_of_text(text)] for name, text in (texts or {}).items()}

    def faults(self, *names: str) -> dict[str, str]:
        """Which of these files, or of those in folders of these names, are not what was written, and why."""
        sealed, found = self.begun().get("files", {}), {}
        for name, digests in sealed.items() if isinstance(sealed, dict) else ():
            if name in names or name.startswith(tuple(f"{folder}/" for folder in names)):
                try:
                    wrong = "" if digest_of_file(self / name) in digests else "has changed since it was written"
                except FileNotFoundError:
                    wrong = "is gone"
                except OSError as error:
                    wrong = f"cannot be read ({error.strerror})"
                found |= {name: wrong} if wrong else {}
        return found

    def check(self, *names: str) -> None:
        """RunError if one of these files, or of those in folders of these names, is not what was written."""
        for name, wrong in self.faults(*names).items():
            raise RunError(f"{self / name} {wrong}; restore it from a copy")

    def floors(self) -> dict[str, float]:
        """What counting alone scores on the held-out documents, as it was taken when the run began."""
        self.check("data.json")
        floors = (self.read("data.json") or {}).get("floors")
        return {
            name: value
            for name, value in (floors if isinstance(floors, dict) else {}).items()
            if number(value) is not None
        }

    def experiment(self) -> Experiment:
        """The experiment that ran here. RunError if this is no run folder or was written by another version."""
        if not self.exists():
            raise RunError(no_model(self.path))
        self.check("config.json")
        try:
            return from_json(Experiment, self.read("config.json"))
        except RunError:
            raise
        except ValueError as error:
            raise RunError(f"{self / 'config.json'}: {error}") from error


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_text(text: str) -> str:
    """SHA-256 of a text as it is written."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_json(said: dict[str, Any]) -> str:
    """SHA-256 of an object without its own digest, however it is laid out.

    >>> digest_of_json({"a": 1, "b": 2}) == digest_of_json({"b": 2, "a": 1, "digest": "?"})
    True
    """
    rest = {name: value for name, value in said.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def is_beginning(name: str) -> bool:
    """Whether a file is what a run that was killed as it began may leave, before its config.json.

    >>> is_beginning("tokenizer"), is_beginning(".data.json.4711"), is_beginning("thesis.tex")
    (True, True, False)
    """
    return name == ".lock" or name in BEGINNING or name.startswith(tuple(f".{part}" for part in BEGINNING))
