"""The bench: arithmetic, the loud absence of a peer, and a race of two trivial programs."""

import json
import subprocess
import sys

import pytest

from experiments import bench, bench_attention, bench_bert_step, bench_revision
from experiments.contest import Contestant
from kernels.chunks import chunk_size


def test_medians_become_ratios():
    found = bench_bert_step.summary({"loupe": [1.0, 9.0, 1.1], "torch_gather": [2.2, 0.1, 9.0]}, [300.0, 100.0, 200.0])
    assert found["loupe_over_torch_gather"] == 2.0 and found["matmul_peak_gflops"] == 200
    assert found["loupe_tokens_per_second"] == round(2048 / 1.1)
    assert found["fraction_of_matmul_peak"] == pytest.approx(191.57 / 1.1 / 200, abs=1e-3)


def test_no_peer_is_said_loudly(monkeypatch, capsys):
    class Fake:
        def __init__(self, *words):
            assert "loupe" in words

        def ask(self, what, count):
            return [1.0] * count

        def close(self):
            pass

    monkeypatch.setattr(bench_bert_step, "Contestant", Fake)
    monkeypatch.setattr(bench_bert_step, "torch_versions", lambda python: {})
    found = bench_bert_step.bench_bert_step(rounds=2, steps=1)
    assert "!!! NO PEER" in capsys.readouterr().err and "loupe_over_hugging_face" not in found


def test_contestants_answer_in_turn(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = "import sys\nfrom experiments.contest import serve\nprint('noise')\nserve(lambda: None, lambda: 7.0)\n"
    (tmp_path / "trivial.py").write_text(program)
    first, second = (Contestant(sys.executable, "trivial") for _ in range(2))
    assert len(first.ask("steps", 3)) == 3 and second.ask("peak", 2) == [7.0, 7.0] and len(first.ask("steps", 1)) == 1
    first.close()
    second.close()
    with pytest.raises(RuntimeError, match="no_such_module ended with exit code 1"):
        Contestant(sys.executable, "no_such_module")


def test_results_say_what_they_were_measured_on(tmp_path):
    bench.write("bert_step", {"ratio": 2.0}, tmp_path / "new" / "result.json")
    written = json.loads((tmp_path / "new" / "result.json").read_text())
    assert written["bench"] == "bert_step" and written["ratio"] == 2.0 and "git_revision" in written["environment"]


def test_unknown_bench_is_one_line():
    done = subprocess.run([sys.executable, "-m", "experiments.bench", "bert_stp"], capture_output=True, text=True)
    assert done.returncode == 2 and "invalid choice: 'bert_stp'" in done.stderr and "Traceback" not in done.stderr


def test_contestants_of_attention_compute_the_same(monkeypatch):
    monkeypatch.setattr(bench_attention, "LENGTHS", (160,))
    monkeypatch.setattr(bench_attention, "keep_freed_memory", lambda: None)  # of the whole process of tests
    found = bench_attention.bench_attention(rounds=1, steps=1)
    assert chunk_size(bench_attention.ROWS, 4 * bench_attention.HEADS * 160**2) is not None  # chunks are taken
    assert 0 < found["largest_difference_at_160"] < 1e-4
    assert found["whole_over_chunked_at_160"] == pytest.approx(
        found["whole_ms_at_160"] / found["chunked_ms_at_160"], 0.02
    )


def test_two_checkouts_race_with_their_own_packages(tmp_path, monkeypatch, capsys):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "contest.py").touch()
    (tmp_path / "trivial.py").write_text(
        "print('[]', flush=True)\nfor line in __import__('sys').stdin: print([0.5], flush=True)\n"
    )
    taken = bench_revision.run_race("trivial", (), 1, 2, {"there": tmp_path})
    assert taken == {"there": [0.5, 0.5]}
    with pytest.raises(RuntimeError, match=r"trivial loupe ended"):  # this checkout has no such module
        bench_revision.run_race("trivial", (), 1, 1, {"here": bench_revision.ROOT})
    with pytest.raises(SystemExit):
        bench.main(["revision", "--against", str(tmp_path / "nowhere")])
    assert "is no checkout of this project" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["revision"])
    assert "revision needs --against" in capsys.readouterr().err
