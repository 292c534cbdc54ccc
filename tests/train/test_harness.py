"""lm-evaluation-harness over our models: its scores are ours, and those of its own model on the same weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed; pip install -e '.[eval]'")

from flax import nnx  # noqa: E402

from data.tokenizers import load_tokenizer  # noqa: E402
from model.decoder import LanguageModel  # noqa: E402
from model.families import gpt2  # noqa: E402
from train import evaluate, harness  # noqa: E402
from train.command import run_command  # noqa: E402
from train.few_shot import Prompted, few_shot, questions  # noqa: E402
from train.likelihood import Scorer  # noqa: E402
from train.pretrained import open_any, save  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PUBLISHED = Path(__file__).parents[1] / "data/published"
WORDS = ("one", "two", "red", "blue", "sea", "sky", "a", "the", "is", "of")
TEXT_TASK = "{text}\nQuestion: Is this sentence positive or negative?\nAnswer:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random GPT-2 with a vocabulary, published."""
    tokenizer = load_tokenizer(PUBLISHED / "gpt2")
    config = gpt2.config("tiny", vocab_size=tokenizer.vocab_size, max_length=96)
    model = LanguageModel(config, rngs=nnx.Rngs(0))
    graph, params = nnx.split(model)
    draw = np.random.default_rng(1)
    import jax

    params = jax.tree.map(lambda leaf: leaf + 0.2 * draw.normal(size=leaf.shape).astype(np.float32), params)
    return save(nnx.merge(graph, params), tmp_path_factory.mktemp("published") / "gpt2", tokenizer=tokenizer)


def examples(count, seed):
    draw = np.random.default_rng(seed)
    return [
        {"text": " ".join(draw.choice(WORDS, draw.integers(2, 9))), "label": int(draw.integers(2))}
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A task of the harness over local files, nothing downloaded."""
    place = tmp_path_factory.mktemp("task")
    for name, count, seed in (("train", 20, 0), ("valid", 24, 1)):
        rows = examples(count, seed)
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "task": "local_words",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {name: str(place / f"{name}.jsonl") for name in ("train", "valid")}},
        "training_split": "train",
        "validation_split": "valid",
        "output_type": "multiple_choice",
        "doc_to_text": TEXT_TASK.replace("{text}", "{{text}}"),
        "doc_to_target": "label",
        "doc_to_choice": ["negative", "positive"],
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
    patch.setenv("HF_HUB_OFFLINE", "1")
    yield
    patch.undo()


def evaluated(model, task, shots=0):
    found = lm_eval.simple_evaluate(
        model=model, tasks=[dict(task)], num_fewshot=shots, bootstrap_iters=0, log_samples=True, torch_random_seed=None
    )
    samples = sorted(found["samples"]["local_words"], key=lambda sample: sample["doc_id"])
    return found["results"]["local_words"], [
        [
            float(response[0][0] if isinstance(response[0], list | tuple) else response[0])
            for response in sample["resps"]
        ]
        for sample in samples
    ]


def test_the_harness_says_what_our_own_scorer_says(folder, task):
    results, nats = evaluated(harness.LoupeLM.open(str(folder)), task)
    ours = Prompted(prompt=TEXT_TASK, answers=("negative", "positive"))
    scorer, asked = Scorer(open_any(folder)), questions(ours, examples(24, 1))
    scores = few_shot(scorer, ours, asked, [], 0)
    assert scores["accuracy"] == pytest.approx(results["acc,none"])
    assert scores["accuracy_per_byte"] == pytest.approx(results["acc_norm,none"])
    found = scorer.score([scorer.encode(one.context, choice) for one in asked for choice in one.choices])
    np.testing.assert_allclose(np.ravel(nats), [one.nats for one in found], atol=1e-4)
    assert 0 < scores["accuracy"] < 1


@pytest.mark.parametrize("shots", [0, 5])
def test_the_harness_says_what_it_says_of_its_own_model(folder, task, shots):
    """Five shots do not fit 96 places: both cut the same tokens away."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=8)
    mine = harness.LoupeLM.open(str(folder))
    assert mine.max_length == peer.max_length and mine.eot_token_id == peer.eot_token_id
    assert mine.tok_encode(" red sea\n of") == peer.tok_encode(" red sea\n of")
    ours, our_nats = evaluated(mine, task, shots)
    theirs, their_nats = evaluated(peer, task, shots)
    assert ours["acc,none"] == theirs["acc,none"] and ours["acc_norm,none"] == theirs["acc_norm,none"]
    np.testing.assert_allclose(our_nats, their_nats, atol=1e-4)


def requests(kind, arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, number) for number, args in enumerate(arguments)]


def test_rolling_and_greedy_writing_are_those_of_its_own_model(folder):
    pytest.importorskip("torch", reason="torch is not installed")
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)
    mine = harness.LoupeLM.open(str(folder))
    texts = [(" ".join(np.random.default_rng(n).choice(WORDS, size)),) for n, size in enumerate((3, 40, 150))]
    rolled = mine.loglikelihood_rolling(requests("loglikelihood_rolling", texts))
    np.testing.assert_allclose(rolled, peer.loglikelihood_rolling(requests("loglikelihood_rolling", texts)), atol=1e-3)
    asked = [(text, {"until": ["e"], "max_gen_toks": 12}) for (text,) in texts]
    written = mine.generate_until(requests("generate_until", asked))
    theirs = peer.generate_until(requests("generate_until", asked))
    assert [text.replace("<|endoftext|>", "") for text in theirs] == written
    assert not any("e" in text for text in written)


def test_the_marks_of_a_model_are_put_once(folder):
    model = harness.LoupeLM.open(str(folder))
    model.scorer.manner = type(model.scorer.manner)(opening=(model.eot_token_id,))
    ids = model.tok_encode("red", add_special_tokens=False)
    assert model.tok_encode("red") == [model.eot_token_id, *ids]
    spelt = model.scorer.tokenizer.token(model.eot_token_id)
    assert model.tok_encode(spelt + "red") == [model.eot_token_id, *ids]


def test_options_of_tasks_that_write():
    most, stop, sampling = harness.manner_of_writing({"until": "\n", "temperature": 0.7, "do_sample": False})
    assert (most, stop, sampling.temperature) == (256, ["\n"], 0.0)
    most, stop, sampling = harness.manner_of_writing(
        {"until": ["a", ""], "temperature": 0.7, "top_p": 0.9, "max_gen_toks": 5}
    )
    assert (most, stop, sampling.temperature, sampling.top_p) == (5, ["a"], 0.7, 0.9)


def test_results_become_flat():
    found = {
        "results": {"a": {"alias": "a", "acc,none": 0.5, "acc_stderr,none": 0.1, "exact_match,strict": 1}},
        "n-shot": {"a": 2},
    }
    assert harness.flat(found) == {"acc_a_2_shot": 0.5, "acc_stderr_a_2_shot": 0.1, "exact_match_strict_a_2_shot": 1.0}


def test_flat_scores_of_a_task(folder, task):
    scores = harness.harness_scores(open_any(folder), [dict(task)], shots=2, limit=10)
    assert {"acc_local_words_2_shot", "acc_norm_local_words_2_shot", "acc_stderr_local_words_2_shot"} <= set(scores)
    assert all(type(value) is float for value in scores.values()) and 0 <= scores["acc_local_words_2_shot"] <= 1
    assert scores == harness.harness_scores(open_any(folder), [dict(task)], shots=2, limit=10)


def test_the_command_takes_tasks_of_the_harness(folder, monkeypatch, capsys, tmp_path):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.evaluate", *map(str, words)])
        try:
            code = run_command(evaluate.main)
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    code, _, errors = run(folder, "--harness", "no_such_task")
    assert code == 2 and "the harness has no task 'no_such_task'" in errors and errors.count("\n") == 1
    code, _, errors = run(folder, "--harness", "piqa", "--data.source", "files:a.jsonl")
    assert code == 2 and "--data.source is not for the harness" in errors
    monkeypatch.setattr(harness, "harness_scores", lambda opened, tasks, **options: {"acc_piqa_0_shot": 0.5})
    code, _, errors = run(folder, "--harness", "piqa", "--out", tmp_path / "scores.json")
    assert code == 0 and json.loads((tmp_path / "scores.json").read_text()) == {"acc_piqa_0_shot": 0.5}, errors
