"""The guard in a whole run: steps that are not finite are skipped and reported; too many in a row end the run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.diverging import good_steps
from train.lines import read_metrics
from train.objectives import MaskedLM
from train.run import Run
from train.verify import compare_runs

ROWS = 8  # of a batch: step n sees the examples 8 (n - 1) .. 8 n - 1 of the first epoch
MOST_BAD = 100


@pytest.fixture
def trained(monkeypatch, here, tmp_path):
    """Trains into a folder; the loss is not finite where one of the `bad` examples is in the batch."""
    sound = MaskedLM.measure

    def run(*words, bad=(), name="run"):
        def measure(self, model, batch, dropout_keys):
            seen = sound(self, model, batch, dropout_keys)
            if dropout_keys is None:
                return seen
            ids = [*bad, *[-1] * (MOST_BAD - len(bad))]  # of one length, so that each call compiles the same program
            spoilt = jnp.isin(batch.example_ids, jnp.array(ids)).any()
            total, count = seen.terms["masked"]
            return seen._replace(terms=seen.terms | {"masked": (jnp.where(spoilt, jnp.nan, 1.0) * total, count)})

        monkeypatch.setattr(MaskedLM, "measure", measure)
        ended = here("--run-dir", tmp_path / name, *words)
        return ended.code, ended.output, ended.errors, tmp_path / name

    return run


def events(folder, name):
    return [line for line in read_metrics(folder) if line.get("event") == name]


def test_skips_below_the_limit_go_on(trained):
    code, out, err, folder = trained("--steps", "8", "--guard.max-skips", "3", bad=[17, 20, 24, 55])
    assert code == 0 and err == "", out + err
    skips = events(folder, "skip")
    assert [line["step"] for line in skips] == [3, 4, 7]
    assert [line["example_ids"] for line in skips] == [list(range(8 * n, 8 * n + ROWS)) for n in (2, 3, 6)]
    assert all(line["loss"] is None and line["epochs"] == [0] * ROWS for line in skips)
    assert "step 3: loss nan" in out and "examples 16..23 of epoch 0" in out
    steps = {line["step"]: line for line in read_metrics(folder) if "batch_hash" in line}
    assert [step for step, line in steps.items() if line["loss"] is None] == [3, 4, 7]
    assert steps[5]["learning_rate"] == steps[3]["learning_rate"]  # the schedule counts updates, not attempts
    state = Run.open(folder).restored.state
    assert int(state.step) == 8 and int(state.skips) == 3 and int(state.skips_in_a_row) == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.slow
def test_too_many_in_a_row_end_the_run_and_lose_nothing(trained):
    words = ["--steps", "10", "--guard.max-skips", "3"]
    code, out, err, folder = trained(*words, bad=range(5 * ROWS, 100))
    assert code == 1 and err.count("\n") == 1, out + err
    assert err.startswith("error: 3 steps in a row were not finite, the last is step 8 with examples 56..63 of epoch 0")
    assert f"last good state: checkpoint {folder.absolute() / 'checkpoints' / '4'};" in err
    assert [line["step"] for line in events(folder, "skip")] == [6, 7, 8]
    assert (folder / "report.html").is_file()
    # With whatever spoilt the loss gone, the same command goes on as if nothing had happened.
    code, out, err, _ = trained(*words)
    assert code == 0 and err == "" and "resuming after step 4" in out
    assert trained(*words, name="undisturbed")[0] == 0
    assert compare_runs(folder, folder.with_name("undisturbed")) == []


def test_a_rate_that_is_far_too_high_is_caught(trained):
    """No poison: the parameters leave the range of float32 by themselves."""
    code, _, err, folder = trained(
        "--steps", "12", "--guard.max-skips", "2", "--optimizer.schedule.peak", "1e38", "--optimizer.clip-norm", "none"
    )
    assert code == 1 and err.startswith("error: 2 steps in a row were not finite")
    assert "last good state: none was saved yet; lower optimizer.schedule.peak" in err
    assert len(events(folder, "skip")) == 2


@pytest.mark.slow
def test_what_is_advised_after_diverging_is_accepted_and_leads_to_the_end(trained):
    """The rate is so high that the last checkpoint is finite and of no use; the advice is followed to the letter."""
    words = ("--steps", "16", "--guard.max-skips", "2", "--checkpoint-every", "2", "--keep-last", "20")
    high = ("--optimizer.schedule.name", "warmup_stable_decay", "--optimizer.schedule.warmup_steps", "8")
    high += ("--optimizer.schedule.decay_steps", "1", "--optimizer.clip-norm", "none")
    code, out, err, folder = trained(*words, *high, "--optimizer.schedule.peak", "1e28")
    assert code == 1 and err.startswith("error: 2 steps in a row were not finite"), out + err
    (line,) = events(folder, "diverged")
    assert "repeat the command to go on from there" in err and "far above its best" in err
    assert ("diverged" in (folder / "report.html").read_text()) and "under way" not in (
        folder / "report.html"
    ).read_text()
    refused = trained(*words, *high, "--optimizer.schedule.peak", "1e-3", "--seed", "1")
    assert refused[0] == 2 and "differs in seed" in refused[2] and "peak" not in refused[2]  # nothing else may change
    code, out, err, _ = trained(*words, *high, "--optimizer.schedule.peak", "1e-3")
    assert code == 0 and err == "", out + err
    assert "changed since it diverged: optimizer.schedule.peak: was 1e+28, now 0.001" in out
    assert events(folder, "changed") and not events(folder, "diverged")
    moved = {path.name for path in (folder / "checkpoints").glob("diverged-*")}
    assert moved == {f"diverged-{step}" for step in (2, 4, 6, 8, 10, 12) if line["good"] < step <= line["step"]} & moved
    late = trained(*words, *high, "--optimizer.schedule.peak", "1e-4")
    assert (
        late[0] == 2 and "optimizer.schedule.peak: was 0.001" in late[2]
    )  # a run that has not diverged stays what it is


def lines_of(*losses):
    return [{"step": step, "loss": loss, "batch_hash": ""} for step, loss in enumerate(losses, 1)]


def test_a_good_checkpoint_is_near_the_best():
    sound = [8.0, 7.0, 6.0, 5.5, 5.2, 5.1, 5.0, 5.0]
    assert good_steps([2, 8], lines_of(*sound)) == [2, 8]
    assert good_steps([8], lines_of(*sound, 30.0)) == []  # step 9 saw what step 8 had made of the parameters
    assert good_steps([2, 8, 12], lines_of(*sound, 5.0, 30.0, 1e9, 1e18, 1e29, None, None)) == [2, 8]
    assert good_steps([8], lines_of(*sound, None, None)) == []  # the step after it saw nothing finite
    assert good_steps([4], lines_of(*sound[:4], 1e29, None)) == []  # what step 4 made of the parameters is no use
    assert good_steps([1], lines_of(1e29)) == [1] and good_steps([3], []) == []
