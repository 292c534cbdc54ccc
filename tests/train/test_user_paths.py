"""A ~ in quotes is the home folder, wherever a path may be given."""

from pathlib import Path

import pytest

from data.cache import cache_folder
from data.errors import DataError
from train import cli
from train.run import RunFolder


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
