"""The bench of fine-tuning: both sides see the same examples, and by the same rule answers come out the same."""

import json

import numpy as np
import pytest

from data.errors import DataError
from data.tasks.best_spans import WindowScores, best_spans
from experiments import bench_finetune, bench_finetune_data
from experiments.bench_finetune_peer import LikeLengths, best_of, place
from train.command import InputError

SETTINGS = {"best": 5, "max_answer": 4}


@pytest.mark.parametrize("seed", range(20))
def test_the_peers_rule_for_answers_is_ours(seed):
    draw = np.random.default_rng(seed)
    context = "the cat sat on the mat and slept"
    stops = np.cumsum([len(word) + 1 for word in context.split()]) - 1
    starts = np.concatenate([[0], stops[:-1] + 1])
    windows, theirs = [], []
    for first, last in ((0, 5), (3, 8)):  # two windows behind two tokens of a question
        start, end = draw.normal(size=(2, 3 + last - first)).astype(np.float32)
        windows.append(WindowScores(start, end, 3, starts[first:last], stops[first:last]))
        offsets = [None] * 3 + list(zip(starts[first:last].tolist(), stops[first:last].tolist(), strict=True))
        theirs.append((start, end, offsets))
    found = best_spans(context, windows, best=5, max_answer=4)
    answer, span, difference = best_of(theirs, context, SETTINGS)
    assert (answer, span) == (found.text(no_answer=True), found.text(no_answer=False))
    assert difference == pytest.approx(found.difference, abs=1e-5)


def test_the_peer_puts_an_answer_on_its_tokens_or_on_the_first():
    offsets = [(0, 0), (0, 3), (0, 0), (0, 3), (4, 7), (8, 11), (0, 0)]  # [CLS] q [SEP] the cat sat [SEP]
    inside = [False, False, False, True, True, True, False]
    assert place([{"text": "cat sat", "answer_start": 4}], offsets, inside) == (4, 5)
    assert place([{"text": "the", "answer_start": 0}], offsets, inside) == (3, 3)
    assert place([{"text": "sat down", "answer_start": 8}], offsets, inside) == (0, 0)  # its end lies behind
    assert place([], offsets, inside) == (0, 0)


@pytest.mark.parametrize("name", ["sst2", "wikiann", "squad2"])
def test_gold_labels_as_predictions_score_one(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_DATA", str(tmp_path))
    folder = tmp_path / bench_finetune_data.FOLDERS[name]
    folder.mkdir()
    if name == "sst2":
        for part in ("train", "dev"):
            lines = [f"{number % 2}\tfilm {part} {number}" for number in range(9)]
            (folder / f"glue_{part}.tsv").write_text("\n".join(["label\tsentence", *lines, ""]))
    elif name == "wikiann":
        for part in ("train", "test"):
            lines = [f"en:Ann\tB-PER\nen:lives\tO\nen:{part}{number}\tO\n" for number in range(9)]
            (folder / f"{part}.txt").write_text("\n".join(lines))
    else:
        asked = [{"answers": [{"text": "Ann", "answer_start": 0}]}, {"answers": [], "is_impossible": True}]
        articles = [
            {
                "title": f"t{number}",
                "paragraphs": [
                    {
                        "context": f"Ann {number}",
                        "qas": [{"id": f"{number}-{at}", "question": "Who?"} | one for at, one in enumerate(asked)],
                    }
                ],
            }
            for number in range(9)
        ]
        (folder / "dev-v2.0.json").write_text(json.dumps({"data": articles}))
    data = bench_finetune_data.write_examples(name, tmp_path / "out", 5, 4)
    lines = {
        part: [json.loads(line) for line in (tmp_path / f"out/{part}.jsonl").read_text().splitlines()]
        for part in ("train", "valid")
    }
    assert {part: len(found) for part, found in lines.items()} == {"train": 5, "valid": 4}
    if name == "squad2":
        golds = [line["answers"][0]["text"] if line["answers"] else "" for line in lines["valid"]]
        assert not {line["title"] for line in lines["train"]} & {line["title"] for line in lines["valid"]}
    else:
        golds = [line["label" if name == "sst2" else "tags"] for line in lines["valid"]]
    predicted = [(gold, gold, 0.0 if gold else 1.0) for gold in golds] if name == "squad2" else golds
    found = bench_finetune_data.score(name, tmp_path / "out", predicted)
    assert found == dict.fromkeys(bench_finetune_data.SCORES[name], 1.0)
    blind = {"wikiann": 0.0, "squad2": golds.count("") / 4}.get(name, max(golds.count(label) for label in golds) / 4)
    assert bench_finetune_data.floor(name, tmp_path / "out") == blind
    assert bench_finetune_data.describe(data)["row_length"] == data.row_length
    if name == "wikiann":
        assert lines["valid"][0]["tokens"][0] == "Ann"
    with pytest.raises(ValueError, match="3 predictions for 4"):
        bench_finetune_data.score(name, tmp_path / "out", predicted[:3])


def test_rows_of_like_length_share_a_batch_in_an_order_of_no_length():
    lengths = [int(length) for length in np.random.default_rng(0).integers(1, 400, 83)]
    rows = LikeLengths(lengths, {"batch_size": 4, "grouped": 5}, seed=0)
    first, second = list(rows), list(rows)
    assert len(rows) == 83 and sorted(first) == sorted(second) == list(range(83)) and first != second
    assert list(LikeLengths(lengths, {"batch_size": 4, "grouped": 5}, seed=0)) == first
    batches = [[lengths[row] for row in first[start : start + 4]] for start in range(0, 80, 4)]
    assert all(batch == sorted(batch) for batch in batches)
    spread = np.mean([max(batch) - min(batch) for batch in batches])
    assert spread < 0.35 * np.mean([np.ptp(np.random.default_rng(n).permutation(lengths)[:4]) for n in range(50)])
    longest = [max(batch) for batch in batches]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_mistakes_and_missing_data_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="sst3 is not one of sst2, wikiann, squad2"):
        bench_finetune.main(["--tasks", "sst3"])
    with pytest.raises(InputError, match=r"--epochs -1"):
        bench_finetune.main(["--epochs", "-1"])
    with pytest.raises(InputError, match=r"--peak 2"):
        bench_finetune.main(["--peak", "2"])
    monkeypatch.setenv("LOUPE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"NOTHING IS MEASURED: there is no .*dev-v2.0.json"):
        bench_finetune.main(["--tasks", "squad2", "--examples", "1", "--held-out", "1", "--seeds", "1"])


def test_means_that_are_apart_are_said_to_be():
    def runs(*scores):
        return [{"scores": {"f1": score, "best_f1": score / 2}, "seconds": [1.0, 1.0]} for score in scores]

    found = bench_finetune.compared({"loupe": runs(0.9, 0.91, 0.92), "hugging_face": runs(0.8, 0.81, 0.82)})
    assert found["within_2_standard_errors"] == "no" and found["difference"] == pytest.approx(0.1)
    assert found["loupe"]["standard_error"] == pytest.approx(0.01 / 3**0.5, abs=1e-6)
    assert found["best_f1"]["difference"] == pytest.approx(0.05) and "steps" not in found["best_f1"]["loupe"]
    assert "within_2_standard_errors" not in bench_finetune.compared({"loupe": runs(0.9), "hugging_face": runs(0.8)})
