"""A run of few trained parameters stands on the weights that it was begun with: the same wherever they lie, or it is refused."""

import json
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.base import Base, BaseError, Start, digest_of
from train.checkpoint import CheckpointError, state_digest
from train.run import Run, RunError
from train.sharding import MeshShape, make_mesh, shardings
from train.starting import base_of

FEW = ("--peft", "lora", "--peft.rank", "2", "--evaluate-every", "2", "--checkpoint-every", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where bases lie that tests share."""
    return tmp_path_factory.mktemp("bases")


@pytest.fixture
def base(here, made, tmp_path):
    """A run of two steps, for this test alone."""
    if not (made / "base").is_dir():
        assert here("--run-dir", made / "base", "--steps", "2", "--checkpoint-every", "1").code == 0
    return shutil.copytree(made / "base", tmp_path / "base")


@pytest.fixture
def tuned(here, base, tmp_path):
    """LoRA on that base, two steps of it, and the digest of all its weights."""

    def run(*words):
        ended = here("--run-dir", tmp_path / "run", "--init", base, "--steps", "2", *FEW, *words)
        assert ended.code == 0, ended.errors
        return tmp_path / "run", state_digest(Run.open(tmp_path / "run").params)

    return run


def digest_said(folder) -> str:
    """The beginning of the digest of the base, as a message shows it."""
    return json.loads((folder / "run.json").read_text())["base"]["digest"][:12]


def train_further(here, folder, *words):
    assert here("--run-dir", folder, "--steps", "4", "--checkpoint-every", "1", *words).code == 0


def test_a_base_that_was_trained_on_is_used_at_its_step_or_refused(here, tuned, base, tmp_path):
    copy = shutil.copytree(base, tmp_path / "copy")
    folder, digest = tuned()
    train_further(here, base, "--keep-last", "9")
    assert state_digest(Run.open(folder).params) == digest  # the step that it was is still there
    shutil.rmtree(base / "checkpoints" / "2")
    said = json.loads((folder / "run.json").read_text())["base"]
    assert said["kind"] == "run" and said["step"] == 2
    with pytest.raises(
        BaseError, match=rf"digest {said['digest'][:12]}.*at step 4 has the digest \w+.*--base PATH"
    ) as caught:
        Run.open(folder)
    assert "\n" not in str(caught.value)
    assert state_digest(Run.open(folder, base=copy).params) == digest  # the remedy


@pytest.mark.slow
def test_a_base_that_was_trained_on_is_refused_by_a_command_which_takes_the_same_from_elsewhere(
    here, tuned, base, tmp_path
):
    copy = shutil.copytree(base, tmp_path / "copy")
    folder, digest = tuned()
    train_further(here, base, "--keep-last", "1")
    shutil.rmtree(base / "checkpoints" / "2", ignore_errors=True)
    ended = here("--run-dir", folder, "--init", base, "--steps", "4", *FEW)
    assert ended.code == 2 and digest_said(folder) in ended.errors and "--init PATH" in ended.errors
    assert here("--run-dir", folder, "--init", copy, "--steps", "2", *FEW).code == 0
    assert state_digest(Run.open(folder).params) == digest
    with pytest.raises(BaseError, match="has the digest"):
        Run.open(folder, base=base)


@pytest.mark.slow
def test_folders_that_move_together_still_find_each_other(tuned, tmp_path, monkeypatch):
    _, digest = tuned()
    (tmp_path / "elsewhere").mkdir()
    for name in ("base", "run"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert state_digest(Run.open(tmp_path / "elsewhere" / "run").params) == digest
    (tmp_path / "elsewhere" / "base").rename(tmp_path / "lost")
    with pytest.raises(BaseError, match="which is not there"):
        Run.open(tmp_path / "elsewhere" / "run")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("lost")
    monkeypatch.setenv("HOME", str(tmp_path))
    for spelled in ("lost", "elsewhere/../lost/", "link", "~/lost"):
        assert state_digest(Run.open("elsewhere/run", base=spelled).params) == digest


@pytest.mark.slow
def test_a_base_that_is_kept_is_needed_no_more(here, tuned, base, tmp_path):
    folder, digest = tuned("--keep-base")
    shutil.rmtree(base)
    assert state_digest(Run.open(folder).params) == digest
    ended = here("--run-dir", folder, "--steps", "4", *FEW)
    assert ended.code == 0 and "resuming after step 2" in ended.output
    path = folder / "base_weights" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BaseError, match="base_weights has changed since it was written"):
        Run.open(folder)
    ended = here("--run-dir", tmp_path / "whole", "--steps", "2", "--keep-base")
    assert ended.code == 2 and "--keep-base is for runs with --peft" in ended.errors


@pytest.mark.slow
def test_a_run_can_be_made_to_stand_alone_later(here, tuned, base):
    folder, digest = tuned()
    assert here("--run-dir", folder, "--init", base, "--steps", "2", "--keep-base", *FEW).code == 0
    shutil.rmtree(base)
    assert state_digest(Run.open(folder).params) == digest


@pytest.mark.slow
def test_weights_that_were_drawn_and_are_not_trained_are_kept(here, tmp_path):
    assert here("--run-dir", tmp_path / "run", "--steps", "2", *FEW).code == 0
    digest = state_digest(Run.open(tmp_path / "run").params)
    path = tmp_path / "run" / "base_weights" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BaseError, match="has changed"):
        Run.open(tmp_path / "run")
    data[-1] ^= 1
    path.write_bytes(data)
    assert state_digest(Run.open(tmp_path / "run").params) == digest


@pytest.mark.slow
def test_a_run_without_a_checkpoint_yet_begins_from_the_same_weights(here, base, tmp_path, interrupt):
    words = ("--run-dir", tmp_path / "run", "--init", base, "--steps", "2", "--checkpoint-every", "2")
    assert here(*words).code == 0
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "scores.json").unlink()
    train_further(here, base, "--keep-last", "1")
    shutil.rmtree(base / "checkpoints" / "2", ignore_errors=True)
    ended = here(*words)
    assert ended.code == 2 and "has the digest" in ended.errors
    ended = here(*words[:2], *words[4:])
    assert ended.code == 2 and "has the digest" in ended.errors


@pytest.mark.slow
def test_folders_of_before_open_as_they_did(tuned, base, monkeypatch, tmp_path):
    folder, digest = tuned()
    begun = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({name: begun[name] for name in ("experiment", "init")}))
    assert state_digest(Run.open(folder).params) == digest


def test_base_is_for_runs_that_have_one(base, tmp_path):
    with pytest.raises(RunError, match="needs no base; leave --base out"):
        Run.open(base, base=tmp_path)


def test_digest_is_that_of_bits_names_and_shapes():
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32(1.0), "c": np.zeros(0, np.float32)}
    digest = digest_of(arrays)
    assert digest_of(dict(reversed(arrays.items()))) == digest
    assert digest_of({name: jnp.asarray(array) for name, array in arrays.items()}) == digest
    for name, other in (("a", arrays["a"].T), ("a", -arrays["a"]), ("b", np.float64(1.0)), ("d", arrays["b"])):
        assert digest_of(arrays | {name: other}) != digest
    mesh = make_mesh(MeshShape.parse("data=2,fsdp=2,tensor=2"))
    tree = {"layers": {"mlp": {"up": {"kernel": np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)}}}}
    split = jax.device_put(tree, shardings(tree, mesh))
    assert digest_of({"x": jax.tree.leaves(split)[0]}) == digest_of({"x": jax.tree.leaves(tree)[0]})


def test_large_arrays_are_read_in_parts(monkeypatch):
    array = np.arange(1000, dtype=np.float32).reshape(10, 100)
    digest = digest_of({"a": array})
    monkeypatch.setattr("train.base.PIECE_BYTES", 900)
    assert digest_of({"a": jnp.asarray(array)}) == digest


def truncate(folder):
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_newest_checkpoint_is_named_wherever_a_run_is_opened(here, base, tmp_path, capsys, monkeypatch):
    import sys

    from train import evaluate, export
    from train.command import run_command

    result = (base / "scores.json").read_bytes()
    newest = 2
    truncate(base / "checkpoints" / "2")
    capsys.readouterr()
    run = Run.open(base)
    said = capsys.readouterr().err
    assert run.step == 1 and said.startswith("warning: ") and said.count("\n") == 1
    assert (
        f"checkpoint {newest} is damaged (" in said and " bytes instead of " in said and "using step 1 instead" in said
    )
    monkeypatch.setattr(sys, "argv", ["train.evaluate", str(base)])
    assert run_command(evaluate.main) == 0
    assert f"checkpoint {newest} is damaged" in capsys.readouterr().err
    assert (base / "scores.json").read_bytes() == result
    assert json.loads((base / "scores-step-1.json").read_text())["step"] == 1
    words = [str(base), "--to", str(tmp_path / "published")]
    assert run_command(lambda: export.main(words)) == 2
    assert "--step 1 takes the one before" in capsys.readouterr().err and not (tmp_path / "published").exists()
    assert run_command(lambda: export.main([*words, "--step", "1"])) == 0
    with pytest.raises(CheckpointError, match="bytes instead of"):
        Run.open(base, newest)


def test_what_every_place_of_a_base_says_is_said_once(monkeypatch, tmp_path):
    def damaged(*words):
        raise RunError("base: no usable checkpoint")

    monkeypatch.setattr("train.starting.weights_of", damaged)
    monkeypatch.setattr("train.starting.plainly", lambda *words: None)
    (tmp_path / "base" / "checkpoints" / "4").mkdir(parents=True)
    base = Base("base", "run", str(tmp_path / "base"), "../base", 4, "0" * 64)
    start: Any = Start(tmp_path / "run", "base", base=base)
    nothing: Any = None
    with pytest.raises(BaseError) as caught:
        base_of(nothing, nothing, start, nothing, print)
    assert str(caught.value).count("no usable checkpoint") == 1
