"""A ~ in quotes is the home folder, wherever a path may be given."""

import errno
from pathlib import Path

import pytest

from data.cache import cache_folder, user_path
from data.corpus import open_corpora
from data.errors import DataError
from data.sources import Files, Pairs
from data.tasks.choices import Classification
from data.tasks.reading import read_source
from data.tasks.sources import TaskFiles
from data.tokenizers import TokenizerJSON, open_tokenizer
from model.hub import check_new
from model.inspection.view import check_place
from train import cli
from train.agreement import is_same
from train.base import Base
from train.command import new_file, run_command
from train.pretrained import load, open_any
from train.registry import find
from train.registry import load as load_experiment
from train.run import Run, RunError, RunFolder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_the_cache(home, monkeypatch):
    monkeypatch.setenv("LOUPE_CACHE", "~/x")
    assert cache_folder() == home / "x"
    monkeypatch.setenv("LOUPE_CACHE", "")
    assert cache_folder() == home / ".cache" / "loupe"


def test_without_a_home_folder_the_cache_must_be_named(home, monkeypatch):
    monkeypatch.delenv("LOUPE_CACHE", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(DataError, match="LOUPE_CACHE"):
        cache_folder()


PLACES = {"cannot use": errno.EISDIR, "cannot read": errno.EACCES, "cannot write": errno.ENOSPC}


@pytest.mark.parametrize("said", PLACES)
def test_what_was_read_is_not_told_as_written(said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda path, mode: False)

    def main() -> int:
        raise OSError(PLACES[said], "a reason", str(tmp_path))

    assert run_command(main) == 1 and capsys.readouterr().err.startswith(f"error: {said} {tmp_path}: a reason; ")


def test_run_folders_and_models(home):
    RunFolder("~/run").create()
    assert [path.name for path in home.iterdir()] == ["run"]
    words = ["--exp=bert_tiny", "--run-dir=~/a", "--init=~/b"]
    options = cli.parse(words, command="pretrain").options
    assert (options.run_dir, options.init) == (str(home / "a"), str(home / "b"))
    (home / "run" / "config.json").touch()
    from train.embed import EmbedOptions

    asked = cli.parse_model(["~/run", "--out=~/v.npy"], command="embed", options=EmbedOptions)
    assert (asked.path, asked.options.out) == (str(home / "run"), str(home / "v.npy"))


def test_a_home_of_nobody_is_a_name(home):
    assert RunFolder("~nobody_of_that_name/x").path == Path("~nobody_of_that_name/x")


NEVER = {"long": "x" * 5_000, "long name": "x" * 300, "nul": "a\0b", "circle": "circle/x"}
DOORS = {
    "cache": lambda name: user_path(name),
    "run": lambda name: Run.open(name),
    "model": lambda name: load(name),
    "any model": lambda name: open_any(name),
    "base": lambda name: Base(f"./{name}", "run", name, name, 1, "").places(Path("run")),
    "same": lambda name: is_same(name, "run"),
    "experiment": lambda name: find(f"{name}/x"),
    "config": lambda name: load_experiment(f"{name}.json"),
    "text": lambda name: open_corpora(Files(name)),
    "pairs": lambda name: open_corpora(Pairs(f"{name}.tsv")),
    "task": lambda name: read_source(TaskFiles(name), Classification()),
    "parallel": lambda name: read_source(TaskFiles(f"{name}+b"), Classification()),
    "tokenizer": lambda name: open_tokenizer(TokenizerJSON(name)),
    "new file": lambda name: new_file("--out", name),
    "page": lambda name: check_place(f"{name}.html"),
    "export": lambda name: check_new(name),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_can_be_the_name_of_nothing_is_one_line(door, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    for name in NEVER.values():
        with pytest.raises(ValueError, match=r"(too long|null|Too many|not|no ).*; ") as caught:
            DOORS[door](name)
        assert "\n" not in str(caught.value)


def test_an_adapter_is_told_from_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(
        RunError, match=r"is an adapter, without the model .*save\(merge\(load_adapter\(.*name the folder NEW"
    ):
        RunFolder(tmp_path).experiment()
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder(tmp_path).experiment()
