"""Experiments by name: found without importing them, loaded when one is asked for.

The one upward link of the house lies here: `--exp=bert_small` is looked up as `experiments.bert_small` at run time.
Listing reads the syntax trees only, so that it answers before JAX is imported.
"""

import ast
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from data.cache import user_path
from data.errors import DataError
from data.foreign import read_json
from train.suggest import nearest

TASKS = "tasks"  # the folder of the experiments that fine-tune
VALUE = "experiment"  # the name that a file gives to what it declares


@dataclass(frozen=True)
class Entry:
    """A file that declares an experiment: its name, the first line of its docstring, and where it lies."""

    name: str
    summary: str
    path: Path

    @property
    def is_task(self) -> bool:
        """Whether it fine-tunes: tasks have a folder of their own."""
        return self.path.parent.name == TASKS

    @property
    def module(self) -> str:
        """What to import."""
        return f"experiments.{TASKS}.{self.name}" if self.is_task else f"experiments.{self.name}"


@dataclass(frozen=True)
class Declared:
    """An experiment as it stands in its file."""

    name: str
    experiment: Any
    text: str
    """The docstring."""


def entries() -> list[Entry]:
    """The experiments of the house by name, none of them imported."""
    spec = importlib.util.find_spec("experiments")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    places = [place for folder in folders for place in (Path(folder), Path(folder) / TASKS)]
    found = [entry(path) for place in places for path in sorted(place.glob("[!_]*.py"))]
    return [item for item in found if item is not None]


def entry(path: Path) -> Entry | None:
    """What a file declares, or None if it declares no experiment. One that Python cannot read is listed as such."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        return Entry(path.stem, f"(cannot be read: {error})", path)
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == VALUE for target in targets):
            return Entry(path.stem, (ast.get_docstring(tree) or "").partition("\n")[0], path)
    return None


def listing() -> str:
    """The experiments with their first line, as `--list` prints them."""
    found = entries()
    width = max((len(item.name) for item in found), default=0)
    shown = {item.name: f"  {item.name:{width}}  {item.summary}".rstrip() for item in found}
    return "\n".join([
        *(shown[item.name] for item in found if not item.is_task),
        "Tasks, of python -m train.finetune:",
        *(shown[item.name] for item in found if item.is_task),
    ])  # fmt: skip


def find(text: str) -> Entry | Path:
    """What `--exp=TEXT` means: an experiment of the house, or a file of one's own. ValueError with the nearest name."""
    path = user_path(text, "give an experiment's name, a .py file or a run folder")
    if path.suffix in (".py", ".json") or len(path.parts) > 1:
        if path.is_dir() and (path / "config.json").is_file():
            return path / "config.json"
        if not path.is_file():
            found = "a folder without config.json" if path.is_dir() else "not there"
            raise ValueError(f"--exp {text} is {found}; give an experiment's name, a .py file or a run folder")
        return path
    known = {item.name: item for item in entries()}
    name = text.replace("-", "_")
    if name not in known:
        close = nearest(name, known)
        hint = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
        raise ValueError(f"there is no experiment {text!r}; {hint} (--list shows them all)")
    return known[name]


def load(text: str) -> Declared:
    """Import the experiment that `--exp=TEXT` means. ValueError with one line naming file, line and error."""
    place = find(text)
    if isinstance(place, Entry):
        return declared(place.name, run_file(place.module, place.path), place.path)
    if place.suffix == ".json":
        return from_config(place)
    return declared(place.stem.replace("-", "_"), run_file(f"experiment_{place.stem}", place), place)


class FromSource(importlib.machinery.SourceFileLoader):
    """Compiles a file each time: the bytecode that Python keeps may be of a text of the same length and the same second."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def run_file(name: str, path: Path) -> ModuleType:
    """Import a file under a module name."""
    try:
        if name.startswith("experiments."):
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"--exp {path} is not a Python file")
        spec = importlib.util.spec_from_file_location(name, path, loader=FromSource(name, str(path)))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        if (folder := str(path.parent.resolve())) not in sys.path:
            sys.path.append(folder)  # its own modules; last, so that they cannot take the place of ours
        spec.loader.exec_module(module)
        return module
    except Exception as error:
        line = line_in(error, path)
        reason = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        reason += nearest_argument(error, sys.modules.get(name))
        raise ValueError(f"{path}{f', line {line}' if line else ''}: {type(error).__name__}: {reason}") from error


def nearest_argument(error: Exception, module: Any) -> str:
    """`; did you mean steps?` where a dataclass that a file uses was given a field that it has not."""
    found = re.fullmatch(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'.*", str(error))
    kind = getattr(module, found[1], None) if found else None
    known = nearest(found[2], getattr(kind, "__dataclass_fields__", ())) if found else None
    return f"; did you mean {known}?" if known else ""


def line_in(error: Exception, path: Path) -> int | None:
    """The line of the file at which an error arose."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return lines[-1] if lines else None


def declared(name: str, module: ModuleType, path: Path) -> Declared:
    """The experiment of an imported file."""
    from train.config import Experiment

    value = getattr(module, VALUE, None)
    if not isinstance(value, Experiment):
        found = f"its {VALUE!r} is a {type(value).__name__}" if value is not None else f"it has no {VALUE!r}"
        raise ValueError(f"{path} declares no experiment ({found}); write {VALUE} = Experiment(...)")
    return Declared(name, value, (module.__doc__ or "").strip())


def from_config(path: Path) -> Declared:
    """The experiment that a run folder's config.json, or the output of `--print-config json`, holds."""
    from model.config import from_json
    from train.config import Experiment

    try:
        value = from_json(Experiment, read_json(path, DataError))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    return Declared(name, value, f"As written in {path}.")


def on_hub(path: str | Path) -> bool:
    """Whether a path can only be a name on the Hugging Face hub, OWNER/NAME: no folder here is called OWNER.

    >>> on_hub("google-bert/bert-base-uncased"), on_hub("./bert-base/uncased"), on_hub("tests/none")
    (True, False, False)
    """
    path = str(path)
    owner, slash, name = path.partition("/")
    return (
        bool(slash and name) and "/" not in name and not path.startswith((".", "/", "~")) and not os.path.exists(owner)
    )


def no_model(path: str | Path) -> str:
    """What is said of a folder that is neither a run nor a published model; of an adapter also how it comes into one."""
    folder = user_path(path)
    if not os.path.isfile(folder / "adapter_config.json"):
        return f"{path} is not a run folder (it has no config.json); give the folder of a run"
    return (
        f"{path} is an adapter, without the model that it was trained on; fold it into that one in Python, base = load(BASE) and "
        f"save(merge(load_adapter(base.model, {str(path)!r}).model), NEW, tokenizer=base.tokenizer) with train.pretrained and "
        "model.peft (a head that it brings stays aside), and name the folder NEW"
    )


def is_published(path: str | Path) -> bool:
    """Whether a path is a published folder, one whose config.json says its `model_type`, or the name of one on the hub."""
    config = user_path(path) / "config.json"
    try:
        return "model_type" in read_json(config, DataError)
    except DataError:
        return not config.exists() and on_hub(path)
