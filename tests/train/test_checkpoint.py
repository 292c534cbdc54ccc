"""Checkpoints: what is read is what was written, on any mesh; damage is seen, said and passed over."""

import gc
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from train.checkpoint import MANIFEST, CheckpointError, Checkpoints, Keep, check_manifest, state_digest


@pytest.fixture
def trained(training, random_rows):
    """A run of two steps."""
    run = training()
    run.run(random_rows(), random_rows(seed=1))
    return run


@pytest.fixture
def written(trained, tmp_path):
    """A folder with the checkpoints of steps 1 and 2, both of the same state."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, trained.state, {"batch": step}, -1.0)
    checkpoints.close()
    return tmp_path


def test_what_is_read_is_what_was_written(trained, written):
    checkpoints = Checkpoints(written)
    restored = checkpoints.restore(trained.target)
    assert restored.step == 2 and restored.position == {"batch": 2} and restored.damaged == []
    assert state_digest(restored.state) == state_digest(trained.state)


def test_eight_devices_write_what_one_reads(training, tmp_path):
    many, alone = training("data=2,fsdp=2,tensor=2"), training()
    draw = np.random.default_rng(0)
    many.state = jax.tree.map(  # no two leaves the same, none of zeros
        lambda leaf: jax.device_put(draw.integers(0, 99, leaf.shape).astype(leaf.dtype), leaf.sharding), many.state
    )
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, many.state, {})
    checkpoints.wait()
    here = checkpoints.restore(alone.target)
    assert state_digest(here.state) == state_digest(many.state)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(here.state))
    checkpoints.save(2, here.state, {})
    checkpoints.wait()
    back = checkpoints.restore(many.target)
    assert state_digest(back.state) == state_digest(many.state)
    assert jax.tree.map(lambda leaf: leaf.sharding, back.state) == jax.tree.map(lambda leaf: leaf.sharding, many.target)


def test_keys_of_random_numbers_have_digests_too():
    one, same, other = ({"noise": jax.random.key(seed)} for seed in (0, 0, 1))
    assert state_digest(one) == state_digest(same) != state_digest(other)


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(folder):
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(folder):
    path = largest_file(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_a_file(folder):
    largest_file(folder).unlink()


def lose_the_manifest(folder):
    (folder / MANIFEST).unlink()


def empty_the_manifest(folder):
    (folder / MANIFEST).write_text("{}")


def empty_the_scores(folder):
    (folder / "metrics" / "metrics").write_text("")


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, lose_a_file, lose_the_manifest, empty_the_manifest, empty_the_scores]
)
def test_damage_is_passed_over_and_set_aside(damage, trained, written):
    damage(written / "checkpoints" / "2")
    checkpoints = Checkpoints(written)
    restored = checkpoints.restore(trained.target)
    assert restored.step == 1 and state_digest(restored.state) == state_digest(trained.state)
    assert [step for step, _ in restored.damaged] == [2]
    aside = checkpoints.set_aside(2)
    assert aside.is_dir() and checkpoints.steps() == [1]
    checkpoints.save(2, restored.state, {"batch": 2})  # the step can be taken and written again
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2] and check_manifest(written / "checkpoints" / "2") is None


def test_nothing_usable_is_one_line(trained, written):
    for step in ("1", "2"):
        truncate(written / "checkpoints" / step)
    with pytest.raises(CheckpointError, match=r"no usable checkpoint .*instead of \d+.*--run-dir") as caught:
        Checkpoints(written).restore(trained.target)
    assert "\n" not in str(caught.value)


def test_nothing_there_is_none(trained, tmp_path):
    assert Checkpoints(tmp_path).restore(trained.target) is None


def test_half_written_is_no_checkpoint(trained, written):
    """What a killed save leaves is not counted, and is swept away by the next writer."""
    left = written / "checkpoints" / "3.orbax-checkpoint-tmp"
    left.mkdir()
    (left / "state").write_bytes(b"half")
    checkpoints = Checkpoints(written)
    assert checkpoints.steps() == [1, 2]
    checkpoints.save(3, trained.state, {})  # waits for the sweeping, which goes on beside the rest
    checkpoints.wait()
    assert not left.exists() and check_manifest(written / "checkpoints" / "3") is None


def test_unwritable_is_one_line(trained, written, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(written)
    monkeypatch.setattr("train.checkpoint._sha256", full)
    checkpoints.save(3, trained.state, {})
    with pytest.raises(CheckpointError, match=r"No space left in .*; free some"):
        checkpoints.wait()
    assert Checkpoints(written).steps() == [1, 2]


def test_keep():
    keep = Keep(last=1, best=1, every=40, log=True)
    infos = [
        SimpleNamespace(step=step, metrics={"valid_loss": loss} if loss else None)
        for step, loss in [(8, 3.0), (10, 2.0), (30, 1.0), (40, None), (50, 2.5), (60, None)]
    ]
    assert keep.should_preserve(infos) == [True, False, True, True, False, True]


def test_best_survives(trained, tmp_path):
    checkpoints = Checkpoints(tmp_path, Keep(last=1))
    for step, loss in [(1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5)]:
        checkpoints.save(step, trained.state, {}, None if loss is None else -loss)
    checkpoints.close()
    assert Checkpoints(tmp_path, Keep(last=1)).steps() == [2, 4]


def test_manifest_covers_every_file(written):
    folder = written / "checkpoints" / "2"
    manifest = json.loads((folder / MANIFEST).read_text())
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there - set(manifest) <= {MANIFEST, "_CHECKPOINT_METADATA", "commit_success.txt"}


def test_saves_leave_nothing_in_memory(trained, tmp_path):
    """Objects that are alive after a save have counted up with the saves, for ever."""
    checkpoints, counts = Checkpoints(tmp_path), []
    for step in range(1, 13):
        checkpoints.save(step, trained.state, {"batch": step})
        checkpoints.wait()
        if step % 4 == 0:
            gc.collect()
            counts.append(sum(isinstance(item, list) for item in gc.get_objects()))
    assert counts[2] - counts[1] < 24, counts  # they were 24 a save


def test_a_checkpoint_under_another_name_is_not_taken_for_that_step(trained, written):
    folder = written / "checkpoints"
    (folder / "2").rename(folder / "5")
    checkpoints = Checkpoints(written, read_only=True)
    restored = checkpoints.restore(trained.target)
    assert restored.step == 1 and restored.position == {"batch": 1}
    assert restored.damaged == [(5, "it is that of step 2, under another name")]
    with pytest.raises(CheckpointError, match=r"of step 2, under another name\); restore it from a copy$"):
        checkpoints.restore(trained.target, 5)


def test_a_checkpoint_of_before_is_told_by_its_state(trained, written, monkeypatch):
    monkeypatch.setattr("train.checkpoint.step_written", lambda folder: None)  # it did not say
    (written / "checkpoints" / "2").rename(written / "checkpoints" / "5")
    assert trained.state.step == 2
    with pytest.raises(
        CheckpointError, match=r"5: it is that of step 2, under another name; .*1: it is that of step 2"
    ):
        Checkpoints(written, read_only=True).restore(trained.target)
