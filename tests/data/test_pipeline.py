"""Streams: what a batch holds is a function of its number, whoever makes it and whenever."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from data.batch import PADDING_ROW
from data.errors import DataError
from data.masking import Masking, MaskRows
from data.passages import Passages
from data.pipeline import BatchSource, TrainStream, eval_batches
from data.sentence_pairs import SentencePairs

ROOT = Path(__file__).parents[2]


def arrays(batch) -> dict[str, np.ndarray]:
    fields = dict(batch._asdict())
    return {name: value for name, value in (fields | fields.pop("labels")).items() if value is not None}


def same(one, other) -> bool:
    left, right = arrays(one), arrays(other)
    return list(left) == list(right) and all(
        left[n].dtype == right[n].dtype and np.array_equal(left[n], right[n]) for n in left
    )


def keep(row, rng):
    """A corruption that corrupts nothing."""
    return row


@pytest.fixture(scope="module")
def corrupt(prepared):
    return MaskRows(Masking(), prepared.tokenizer)


@pytest.fixture(scope="module")
def reference(prepared, toy, corrupt):
    """Three epochs of batches, made here and one by one."""
    source = BatchSource(prepared.train, toy, SentencePairs(), corrupt, seed=0)
    return [source[number][0] for number in range(3 * rows_of_epoch(prepared, toy, SentencePairs()) // toy.batch_size)]


def rows_of_epoch(prepared, toy, packing) -> int:
    plan = BatchSource(prepared.train, toy, packing, keep, seed=0).plan
    return sum(len(plan.window(0, window)) for window in range(plan.windows))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_number_of_workers_gives_the_same_batches(prepared, toy, corrupt, reference, workers):
    with TrainStream(prepared.train, toy, SentencePairs(), corrupt, seed=0, workers=workers) as stream:
        for number, expected in enumerate(reference[:40]):
            batch = next(stream)
            assert same(batch, expected)
            assert stream.position["batch"] == number + 1
        kept = batch  # what a user keeps outlives the stream
    assert same(kept, reference[39])
    assert list(stream) == []
    assert not [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]


@pytest.mark.parametrize("start", [0, 1, 17, 55])
@pytest.mark.parametrize("hint", [True, False])
def test_a_stream_goes_on_where_its_position_says(prepared, toy, corrupt, reference, start, hint):
    with TrainStream(prepared.train, toy, SentencePairs(), corrupt, seed=0) as stream:
        for _ in range(start):
            next(stream)
        position = stream.position
    anchor = position["anchor"] if hint else None
    with TrainStream(
        prepared.train, toy, SentencePairs(), corrupt, seed=0, start=position["batch"], anchor=anchor
    ) as on:
        assert all(same(next(on), expected) for expected in reference[start : start + 10])


def test_a_position_is_small_plain_data(prepared, toy, corrupt):
    import json

    with TrainStream(prepared.train, toy, SentencePairs(), corrupt, seed=0) as stream:
        for _ in range(60):
            next(stream)
        assert json.loads(json.dumps(stream.position)) == stream.position
        assert len(json.dumps(stream.position)) < 100
        assert stream.position["anchor"][1] > 0  # in a later epoch by now


def test_an_anchor_spares_planning_what_went_before(prepared, toy, corrupt):
    first = BatchSource(prepared.train, toy, SentencePairs(), corrupt, seed=0)
    _, anchor = first[60]
    second = BatchSource(prepared.train, toy, SentencePairs(), corrupt, seed=0, start=61, anchor=anchor)
    planned = []
    window = second.plan.window
    second.plan.window = lambda *place: planned.append(place) or window(*place)
    assert same(second[0][0], first[61][0])
    assert min(planned) >= (anchor.epoch, anchor.window)


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_side_by_side_are_one_host(prepared, toy, corrupt, reference, count):
    hosts = [
        BatchSource(prepared.train, toy, SentencePairs(), corrupt, seed=0, process_index=i, process_count=count)
        for i in range(count)
    ]
    for number in (0, 13, 41):
        shares = [arrays(host[number][0]) for host in hosts]
        whole = arrays(reference[number])
        assert all(np.array_equal(np.concatenate([share[n] for share in shares]), whole[n]) for n in whole)


def test_every_epoch_gives_each_token_of_the_corpus_once(prepared, toy):
    rows = rows_of_epoch(prepared, toy, Passages())
    source = BatchSource(prepared.train, toy, Passages(), keep, seed=0)
    by_epoch: dict[int, list] = {0: [], 1: []}
    for number in range(2 * rows // toy.batch_size + 2):
        batch = source[number][0]
        for row, epoch, example in zip(batch.tokens, batch.epochs.tolist(), batch.example_ids.tolist(), strict=True):
            if epoch in by_epoch:
                by_epoch[epoch].append((example, row))
    ordinary = prepared.tokenizer.ordinary
    for seen in by_epoch.values():
        assert [example for example, _ in seen] == list(range(len(seen)))
        tokens = np.concatenate([row for _, row in seen])
        counted = Counter(tokens[np.isin(tokens, ordinary)].tolist())
        assert counted == {
            i: int(n) for i, n in enumerate(prepared.unigram_counts) if n and i in set(ordinary.tolist())
        }
    assert any(
        len(set(source[n][0].epochs.tolist())) == 2 for n in range(rows // toy.batch_size + 1)
    )  # none is cut short


def test_masks_change_with_epoch_and_seed_unless_static(prepared, toy):
    static = MaskRows(Masking(kind="static"), prepared.tokenizer)
    rows = rows_of_epoch(prepared, toy, Passages())
    per_epoch = {}
    for name, corrupt in (("static", static), ("dynamic", MaskRows(Masking(), prepared.tokenizer))):
        source = BatchSource(prepared.train, toy, Passages(), corrupt, seed=0)
        seen: dict[int, list] = {}
        for number in range(2 * rows // toy.batch_size):
            batch = source[number][0]
            for place, epoch in enumerate(batch.epochs.tolist()):
                seen.setdefault(epoch, []).append(
                    (
                        batch.example_ids[place],
                        batch.tokens[place].tobytes(),
                        batch.labels["masked_places"][place].tobytes(),
                    )
                )
        per_epoch[name] = seen
    shared = min(len(per_epoch["static"][0]), len(per_epoch["static"][1]))
    assert per_epoch["static"][0][:shared] == per_epoch["static"][1][:shared]
    assert per_epoch["dynamic"][0][:shared] != per_epoch["dynamic"][1][:shared]
    other = BatchSource(prepared.train, toy, Passages(), static, seed=1)
    assert (
        other[0][0].tokens.tobytes()
        != BatchSource(prepared.train, toy, Passages(), static, seed=0)[0][0].tokens.tobytes()
    )


def test_evaluation_reads_every_row_once_and_fills_up_with_nothing(prepared, toy, corrupt):
    batches = list(eval_batches(prepared.valid, toy, SentencePairs(), corrupt, seed=0, batch_size=6))
    assert {batch.tokens.shape for batch in batches} == {(6, 64)}
    ids = np.concatenate([batch.example_ids for batch in batches])
    real = ids != PADDING_ROW
    assert ids[real].tolist() == list(range(real.sum()))
    assert real.tolist() == sorted(real.tolist(), reverse=True)
    for batch in batches:
        padding = batch.example_ids == PADDING_ROW
        assert not batch.segments[padding].any()
        for name in ("masked_weights", "next_sentence_weights"):
            assert not batch.labels[name][padding].any()
    again = list(eval_batches(prepared.valid, toy, SentencePairs(), corrupt, seed=0, batch_size=6))
    assert all(same(one, two) for one, two in zip(batches, again, strict=True))
    limited = list(eval_batches(prepared.valid, toy, SentencePairs(), corrupt, seed=0, batch_size=6, limit_rows=7))
    assert len(limited) == 2
    assert (np.concatenate([batch.example_ids for batch in limited]) >= 0).sum() == 7
    modes = [MaskRows(Masking(), prepared.tokenizer, mode) for mode in ("all_masked", "as_trained", "shuffled")]
    targets = [
        np.concatenate(
            [b.labels["masked_targets"] for b in eval_batches(prepared.valid, toy, SentencePairs(), m, seed=0)]
        )
        for m in modes
    ]
    assert np.array_equal(targets[0], targets[1])
    assert np.array_equal(targets[0], targets[2])


def test_evaluation_on_hosts_side_by_side(prepared, toy, corrupt):
    options = {"seed": 0, "batch_size": 6}
    whole = list(eval_batches(prepared.valid, toy, SentencePairs(), corrupt, **options))
    hosts = [
        list(eval_batches(prepared.valid, toy, SentencePairs(), corrupt, **options, process_index=i, process_count=3))
        for i in range(3)
    ]
    for number, batch in enumerate(whole):
        shares = [arrays(host[number]) for host in hosts]
        assert all(np.array_equal(np.concatenate([s[n] for s in shares]), value) for n, value in arrays(batch).items())


def test_a_stream_ends_where_it_is_told(prepared, toy, corrupt, reference):
    with TrainStream(prepared.train, toy, SentencePairs(), corrupt, seed=0, start=3, stop=5) as stream:
        batches = list(stream)
        assert stream.position["batch"] == 5
    assert len(batches) == 2
    assert same(batches[1], reference[4])


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_come_through_as_they_are(prepared, toy, workers):
    def fail(row, rng):  # within the test, so that it travels by value: a worker cannot import the tests
        raise DataError("row 7 cannot be corrupted; look at it")

    with (
        TrainStream(prepared.train, toy, SentencePairs(), fail, seed=0, workers=workers) as stream,
        pytest.raises(DataError) as caught,
    ):
        next(stream)
    assert str(caught.value) == "row 7 cannot be corrupted; look at it"


def test_a_batch_that_hosts_cannot_share_is_told(prepared, toy, corrupt):
    with pytest.raises(DataError, match="batch_size=8 is not a multiple of the 3 processes; use 9"):
        BatchSource(prepared.train, toy, SentencePairs(), corrupt, seed=0, process_count=3)
    with pytest.raises(DataError, match="workers=-1"):
        TrainStream(prepared.train, toy, SentencePairs(), corrupt, seed=0, workers=-1)


PROGRAM = """
import weakref
weakref.finalize(weakref, int)  # weakref's exit handler is in place before multiprocessing's
import os, signal, sys, time
from data.config import TextData
from data.masking import Masking, MaskRows
from data.sentence_pairs import SentencePairs
from data.pipeline import TrainStream
from data.prepared import open_prepared
from data.sources import Synthetic
from data.tokenizers import WordPiece

if __name__ == "__main__":
    data = TextData(Synthetic(120), WordPiece(400), row_length=64, batch_size=8, window=40)
    prepared = open_prepared(data)
    stream = TrainStream(prepared.train, data, SentencePairs(), MaskRows(Masking(), prepared.tokenizer), seed=0, workers=2)
    if sys.argv[1] == "interrupt":  # at once: the workers have begun, and nothing of ours has run in them
        signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
        os.killpg(os.getpgrp(), signal.SIGINT)
    next(stream)
    import psutil
    print("workers", *[c.pid for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())], flush=True)
    if sys.argv[1] == "interrupt":
        os.killpg(os.getpgrp(), signal.SIGINT)
        time.sleep(0.5)
        for _ in range(20):
            next(stream)
        stream.close()
        print("closed", flush=True)
    elif sys.argv[1] == "leave":
        pass
    else:
        time.sleep(60)
"""


def start(tmp_path, how: str):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-W", "error", str(tmp_path / "program.py"), how]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": ""}
    return subprocess.Popen(command, env=environment, start_new_session=True, text=True, stdout=-1, stderr=-1)


def workers_of(process) -> list[int]:
    for line in process.stdout:
        if line.startswith("workers"):
            return [int(word) for word in line.split()[1:]]
    raise AssertionError(process.stderr.read())


def test_workers_leave_interrupts_to_the_parent(tmp_path):
    process = start(tmp_path, "interrupt")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("interrupted") == 2
    assert out.endswith("closed\n")
    assert err == ""  # neither tracebacks nor leaked shared memory


def test_workers_end_with_a_killed_parent(tmp_path):
    process = start(tmp_path, "wait")
    pids = workers_of(process)
    assert len(pids) == 2
    assert all(psutil.Process(pid).environ()["JAX_PLATFORMS"] == "cpu" for pid in pids)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.time() + 15
    while time.time() < deadline and any(psutil.pid_exists(pid) for pid in pids):
        time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
def test_a_program_that_forgets_to_close_still_ends(tmp_path):
    process = start(tmp_path, "leave")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
