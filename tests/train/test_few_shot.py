"""Likelihoods of texts and what few-shot scores make of them: laws of probability, exact boundaries, whole commands."""

import gzip
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data.errors import DataError
from data.tokenizers import load_tokenizer
from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.families import bert, gpt2, t5
from train import evaluate, few_shot_tasks, prompting
from train.command import run_command
from train.few_shot import (
    Prompted,
    Question,
    WholeTexts,
    answer_scores,
    drawn,
    few_shot,
    prompts,
    questions,
    text_scores,
)
from train.few_shot_sources import library_examples, open_examples
from train.likelihood import Likelihood, LikelihoodError, Request, Scorer
from train.pretrained import Opened
from train.prompts import Manner

PUBLISHED = Path(__file__).parents[1] / "data/published"
PIECES = {"gpt2": LanguageModel, "bert": MaskedLanguageModel, "t5": EncoderDecoder}
ROOM = 48


@pytest.fixture(scope="module")
def scorers():
    """A random decoder, masked model and encoder-decoder, each with its vocabulary."""

    def made(name):
        tokenizer = load_tokenizer(PUBLISHED / name)
        family = {"gpt2": gpt2, "bert": bert, "t5": t5}[name]
        options = {} if name == "t5" else {"max_length": ROOM}
        config = family.config("small" if name == "t5" else "tiny", vocab_size=tokenizer.vocab_size, **options)
        if name == "t5":
            import dataclasses

            config = dataclasses.replace(
                config,
                num_layers=1,
                num_decoder_layers=1,
                hidden_size=32,
                attention=dataclasses.replace(config.attention, num_heads=2, head_size=16),
            )
        graph, params = nnx.split(PIECES[name](config, rngs=nnx.Rngs(0)))
        draw = np.random.default_rng(0)
        params = jax.tree.map(lambda leaf: leaf + 0.1 * draw.normal(size=leaf.shape).astype(np.float32), params)
        return Scorer(Opened(nnx.merge(graph, params), tokenizer, config, name))

    optimized = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)  # compiles in half the time
    yield {name: made(name) for name in PIECES}
    jax.config.update("jax_disable_most_optimizations", optimized)


def logits(scorer, tokens, **source):
    """Log-probabilities of every token at every place, by one plain run of the model."""
    ids = jnp.asarray(tokens, jnp.int32)[None]
    places = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
    hidden = scorer.opened.model(ids, places, jnp.ones_like(ids), **source)
    return np.asarray(jax.nn.log_softmax(scorer.opened.model.predict_tokens(hidden)[0]))


# Likelihoods


def test_a_decoder_is_scored_as_one_plain_run_scores_it(scorers):
    scorer = scorers["gpt2"]
    request = scorer.encode("The cat sat on", " the mat")
    (found,) = scorer.score([request])
    tokens = np.concatenate(request)
    by_hand = logits(scorer, tokens[:-1])[len(request.context) - 1 :]
    expected = [by_hand[n, token] for n, token in enumerate(request.continuation)]
    assert found.nats == pytest.approx(sum(expected), abs=1e-4)
    assert found.greedy == all(row.argmax() == token for row, token in zip(by_hand, request.continuation, strict=True))


def test_probabilities_of_all_next_tokens_add_up_and_the_best_is_greedy(scorers):
    scorer = scorers["gpt2"]
    context = scorer.tokenizer.encode("A cat")
    every = [Request(context, np.array([token], np.int32)) for token in range(scorer.tokenizer.vocab_size)]
    found = scorer.score(every)
    assert np.exp([one.nats for one in found]).sum() == pytest.approx(1.0, abs=1e-4)
    assert [one.greedy for one in found].count(True) == 1
    assert max(found, key=lambda one: one.nats).greedy


def test_the_chain_rule(scorers):
    scorer = scorers["gpt2"]
    a, b, c = (scorer.tokenizer.encode(text) for text in ("one two", " three", " four five"))
    whole, first, second = scorer.score(
        [Request(a, np.concatenate([b, c])), Request(a, b), Request(np.concatenate([a, b]), c)]
    )
    assert whole.nats == pytest.approx(first.nats + second.nats, abs=1e-4)


@pytest.mark.parametrize("name", list(PIECES))
def test_what_shares_a_batch_changes_nothing_and_the_order_is_kept(scorers, name):
    scorer, draw = scorers[name], np.random.default_rng(3)
    words = ["cat", "sat", "mat", "dog", "the", "on"]
    requests = [
        scorer.encode(" ".join(draw.choice(words, draw.integers(1, 8))), " " + " ".join(draw.choice(words, size)))
        for size in (1, 3, 2, 1)
    ]
    requests.append(requests[2])
    together = [one.nats for one in scorer.score(requests)]
    alone = [scorer.score([request])[0].nats for request in requests]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert together[-1] == together[2] and len({round(value, 3) for value in together}) == 4


def test_an_encoder_decoder_scores_its_target(scorers):
    scorer = scorers["t5"]
    request = scorer.encode("The cat sat", "on the mat")
    (found,) = scorer.score([request])
    source = jnp.asarray(request.context)[None]
    given = {
        "source_tokens": source,
        "source_positions": jnp.arange(source.shape[1], dtype=jnp.int32)[None],
        "source_segments": jnp.ones_like(source),
    }
    read = np.concatenate([[scorer.manner.start], request.continuation[:-1]])
    by_hand = logits(scorer, read, **given)
    assert request.context[-1] == scorer.tokenizer.special.eos and request.continuation[-1] != request.context[-1]
    assert found.nats == pytest.approx(sum(by_hand[n, t] for n, t in enumerate(request.continuation)), abs=1e-4)


def test_a_masked_model_hides_one_token_at_a_time(scorers):
    scorer = scorers["bert"]
    request, special = scorer.encode("the cat", " sat on"), scorer.tokenizer.special
    (found,) = scorer.score([request])
    whole = np.concatenate([[special.cls], request.context, request.continuation, [special.sep]])
    expected = 0.0
    for at in range(1 + len(request.context), len(whole) - 1):
        hidden = whole.copy()
        hidden[at] = special.mask
        expected += logits(scorer, hidden)[at, whole[at]]
    assert found.nats == pytest.approx(expected, abs=1e-4)


def test_a_prefix_is_seen_both_ways(scorers):
    scorer = Scorer(scorers["gpt2"].opened)
    request = scorer.encode("one two three", " four")
    plain = scorer.score([request])[0].nats
    scorer.manner = Manner(prefix=True)
    tokens = np.concatenate(request)[:-1]
    prefix = jnp.asarray(np.arange(len(tokens)) < len(request.context))[None]
    expected = logits(scorer, tokens, prefix=prefix)[len(request.context) - 1 :]
    both = scorer.score([request])[0].nats
    assert both == pytest.approx(sum(expected[n, t] for n, t in enumerate(request.continuation)), abs=1e-4)
    assert abs(both - plain) > 1e-3


@pytest.mark.parametrize("name", list(PIECES)[:2])
@pytest.mark.parametrize(
    ("context", "continuation"), [("The cat", " sat."), ("Say ", "no"), ("", "cat"), ("It's  ", " no!")]
)
def test_context_and_continuation_are_the_whole_text(scorers, name, context, continuation):
    scorer = scorers[name]
    request = scorer.encode(context, continuation)
    whole = scorer.tokenizer.encode(context + continuation).tolist()
    found = np.concatenate(request).tolist()
    assert found == whole or (context == "" and found[1:] == whole)
    assert request.continuation.tolist() == whole[len(scorer.tokenizer.encode(context.rstrip())) :]


def test_contexts_that_are_too_long_lose_their_beginning(scorers):
    scorer = Scorer(scorers["gpt2"].opened)
    draw = np.random.default_rng(0).integers(0, 200, 100).astype(np.int32)
    long, short = Request(draw, draw[:3]), Request(draw[100 - (ROOM + 1 - 3) :], draw[:3])
    found = scorer.score([long, short])
    assert found[0] == found[1] and scorer.cut == 1
    masked = Scorer(scorers["bert"].opened)
    words = np.random.default_rng(0).integers(5, 11, 100).astype(np.int32)
    one, other = masked.score([Request(words, words[:2]), Request(words[100 - (ROOM - 4) :], words[:2])])
    assert one == other and masked.cut == 1
    with pytest.raises(LikelihoodError, match=f"has 100 tokens, and the model reads {ROOM}"):
        scorer.score([Request(draw[:1], draw)])


@pytest.mark.parametrize("length", [1, 2, 7, 30, 48])
def test_windows_score_every_token_once_with_all_the_context_that_fits(scorers, length):
    scorer = scorers["gpt2"]
    ids = np.random.default_rng(1).integers(0, 200, 30).astype(np.int32)
    windows = scorer.windows(ids, length)
    assert np.concatenate([window.continuation for window in windows]).tolist() == ids.tolist()
    given = [scorer.prefix, *ids.tolist()]
    for window, begin in zip(windows, range(0, 30, length), strict=True):
        end = min(begin + length, 30)
        assert len(window.context) + len(window.continuation) - 1 == min(end, length)
        assert window.context.tolist() == given[max(0, end - length) : begin + 1]
    if length >= 30:
        request = Request(np.array([scorer.prefix], np.int32), ids)
        assert scorer.score(windows) == scorer.score([request])


def test_whole_texts_have_perplexities_by_token_word_and_byte(scorers):
    scorer = scorers["gpt2"]
    texts = ["The cat sat on the mat. " * 12, "A dog."]
    scores = text_scores(scorer, WholeTexts(), texts)
    size, words = sum(map(len, texts)), 12 * 6 + 1 + 2
    nats = np.log(scores["byte_perplexity"]) * size
    assert scores["bits_per_byte"] == pytest.approx(np.log2(scores["byte_perplexity"]))
    assert np.log(scores["word_perplexity"]) * words == pytest.approx(nats)
    tokens = sum(len(scorer.tokenizer.encode(text)) for text in texts)
    assert np.log(scores["perplexity"]) * tokens == pytest.approx(nats)


def test_what_has_no_likelihood_says_so(scorers):
    with pytest.raises(LikelihoodError, match="is no decoder"):
        scorers["bert"].windows(np.arange(3))
    with pytest.raises(LikelihoodError, match="adds no token behind 'cat'; let it begin with a space"):
        scorers["gpt2"].encode("cat", "")


# Questions


class Planted:
    """In the place of a scorer: the likelihood of an answer is what a function of context and answer says."""

    def __init__(self, nats):
        self.nats, self.seen = nats, []

    def encode(self, context, continuation):
        self.seen.append(context)
        return context, continuation

    def score(self, requests):
        return [Likelihood(self.nats(*request), False) for request in requests]


TASK = Prompted(prompt="{text} It was", answers=("bad", "good"), labels=("neg", "pos"), metrics=("accuracy", "f1"))
EXAMPLES = [
    {"text": text, "label": label} for text, label in (("Fine", 1), ("Poor", 0), ("Great", 1), ("Odd", 0), ("Nice", 1))
]


def test_a_model_that_knows_is_right_and_one_that_does_not_is_at_the_floor():
    asked = questions(TASK, EXAMPLES)
    kind = {"Fine", "Great", "Nice"}
    knows = Planted(lambda context, answer: -1.0 if (context.split()[0] in kind) == (answer == " good") else -2.0)
    assert few_shot(knows, TASK, asked, [], 0)["accuracy"] == 1.0
    always = few_shot(Planted(lambda context, answer: -len(answer)), TASK, asked, [], 0)
    assert always["accuracy"] == 0.4 and always["f1"] == 0.0
    assert always["accuracy_stderr"] == pytest.approx(np.sqrt(0.4 * 0.6 / 4))


def test_likelihood_per_byte_does_not_punish_long_answers():
    asked = [Question("?", (" yes", " certainly"), 1)]
    task = Prompted(prompt="?", choices=("a", "b"))
    scores = answer_scores(task, asked, [[Likelihood(-4.0, False), Likelihood(-5.0, False)]])
    assert scores["accuracy"] == 0.0 and scores["accuracy_per_byte"] == 1.0


def test_shots_stand_solved_before_the_question():
    asked = questions(TASK, EXAMPLES)
    assert prompts(asked[0], asked[1:3]) == "Poor It was bad\n\nGreat It was good\n\nFine It was"


def test_shots_are_drawn_by_seed_and_number_and_never_the_question_itself():
    pool = questions(TASK, [{"text": f"t{n}", "label": n % 2} for n in range(12)])
    first = [drawn(pool, 4, seed=0, number=n, own=True) for n in range(12)]
    assert all(pool[n] not in shots and len(shots) == 4 for n, shots in enumerate(first))
    assert first == [drawn(pool, 4, seed=0, number=n, own=True) for n in range(12)]
    assert first != [drawn(pool, 4, seed=1, number=n, own=True) for n in range(12)]
    assert {shot.context for shots in first for shot in shots} == {one.context for one in pool}
    assert len(drawn(pool, 11, 0, 3, own=True)) == 11
    with pytest.raises(DataError, match="12 shots need 13 examples"):
        drawn(pool, 12, 0, 3, own=True)


def test_several_seeds_give_mean_and_spread():
    asked = questions(TASK, EXAMPLES)
    pool = questions(TASK, [{"text": f"t{n}", "label": n % 2} for n in range(30)])
    hashed = Planted(lambda context, answer: float(len(context + answer) * 7919 % 13) + sum(map(ord, context)) % 3)
    one, two, three = (few_shot(hashed, TASK, asked, pool, 2, (seed,))["accuracy"] for seed in (0, 1, 2))
    scores = few_shot(hashed, TASK, asked, pool, 2, (0, 1, 2))
    assert scores["accuracy"] == pytest.approx(np.mean([one, two, three]))
    assert scores["accuracy_spread"] == pytest.approx(np.std([one, two, three], ddof=1))
    assert "accuracy_spread" not in few_shot(hashed, TASK, asked, pool, 0, (0, 1, 2))


@pytest.mark.parametrize(
    ("labels", "golds"), [(["neg", "pos"], [0, 1]), (["0", "1"], [0, 1]), (["1", "2"], [0, 1]), ([True, False], [1, 0])]
)
def test_labels_are_read_as_files_spell_them(labels, golds):
    made = questions(TASK, [{"text": "x", "label": label} for label in labels])
    assert [one.gold for one in made] == golds


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({"text": "x", "label": "maybe"}, r"a.tsv, line 3: label 'maybe' is none of the task's, .* neg, pos"),
        ({"text": "x", "label": 3}, "a.tsv, line 3: label 3 is none of the 2 answers"),
        ({"text": "x"}, "a.tsv, line 3: there is no column 'label'; there are text"),
        ({"label": 0}, "a.tsv, line 3: there is no column 'text'; there are label"),
    ],
)
def test_examples_that_do_not_fit_are_named(example, words):
    with pytest.raises(DataError, match=words):
        questions(TASK, [{**example, "__place__": "a.tsv, line 3"}])


def test_the_forms_in_which_sets_are_published():
    """One example of each known task, in each of its forms."""
    tasks, arc = few_shot_tasks.TASKS, {"question": "Why?", "answerKey": "B"}
    listed = [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]
    forms = {
        "sst2": [{"content": "fine", "label": "1"}, {"sentence": "fine", "label": 1}],
        "mrpc": [{"#1 String": "a", "#2 String": "b", "Quality": "1"}],
        "rte": [{"premise": "a", "hypothesis": "b", "label": "not_entailment"}],
        "boolq": [{"passage": "p", "question": "q", "answer": True}, {"passage": "p", "question": "q", "label": 1}],
        "piqa": [{"goal": "g", "sol1": "a", "sol2": "b", "label": 1}],
        "copa": [{"premise": "It rained.", "question": "cause", "choice1": "A", "choice2": "Clouds.", "label": 1}],
        "arc_easy": [
            {**arc, "choices": {"text": ["a", "b"], "label": ["A", "B"]}},
            {**arc, "choices": listed},
            {"question": {"stem": "Why?", "choices": listed}, "answerKey": "B"},
        ],
    }  # fmt: skip
    made = {name: [questions(tasks[name], [example])[0] for example in examples] for name, examples in forms.items()}
    assert all(one.gold == 1 and len(one.choices) == 2 for several in made.values() for one in several)
    assert all(one == several[0] for several in made.values() for one in several)
    assert made["copa"][0] == Question("It rained because", (" a", " clouds."), 1)
    assert made["arc_easy"][0].context == "Question: Why?\nAnswer:"


# Sources


def test_files_of_every_kind(tmp_path):
    rows = [("one", "0"), ('"two', "1")]
    (tmp_path / "a.tsv").write_bytes(
        "\ufeffsentence\tlabel\r\n".encode() + "".join("\t".join(r) + "\r\n" for r in rows).encode()
    )
    (tmp_path / "b.csv").write_text('label,sentence\n0,one\n1,"""two"\n')
    (tmp_path / "c.tsv").write_text('0\t-\tone\n1\t-\t"two\n')
    with gzip.open(tmp_path / "d.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"sentence": text, "label": int(label)}) + "\n" for text, label in rows)
    for word in ("a.tsv", "b.csv", "c.tsv#label,_,sentence", "d.jsonl.gz"):
        train, valid = open_examples(f"files:{tmp_path}/{word}")
        assert train is None and [(e["sentence"], str(e["label"])) for e in valid] == rows, word
    train, valid = open_examples(f"files:{tmp_path}/a.tsv|{tmp_path}/b.csv")
    assert train is not None and len(train) == len(valid) == 2 and valid[1]["__place__"].endswith("b.csv line 3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tb\n1\n", "line 2 has 1 column, not 2"),
        ("a\tb\n", "holds no example"),
    ],
)
def test_tables_that_do_not_fit_are_named(tmp_path, text, words):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(DataError, match=words):
        open_examples(f"files:{tmp_path}/a.tsv")


def test_the_embedded_task_is_the_same_each_time_and_holds_no_pair_twice():
    train, valid = library_examples()
    assert (train, valid) == library_examples() and len(valid) >= 50 and len(train) > 5 * len(valid)
    assert all(len(set(example["choices"])) == 4 for example in [*train, *valid])
    assert not {example["__place__"] for example in train} & {example["__place__"] for example in valid}
    golds = np.bincount([example["label"] for example in train], minlength=4) / len(train)
    assert golds.min() > 0.2


# Commands

SENTENCES = "sentence\tlabel\n" + "".join(f"{'good' if n % 2 else 'bad'} {n}\t{n % 2}\n" for n in range(12))


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.evaluate", *map(str, words)])
        try:
            code = run_command(evaluate.main)
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.slow
def test_a_run_is_scored_and_no_file_is_written_over(here, command, tmp_path):
    run = tmp_path / "run"
    lengths = ("--steps", "2", "--evaluate-every", "2", "--evaluate-rows", "8", "--checkpoint-every", "2")
    next_token = ("--objective.name", "next_token", "--objective.opening", "bos", "--data.row-length", "128")
    assert here("--run-dir", run, *lengths, *next_token, "--model.positions.max-length", "128").code == 0
    (tmp_path / "dev.tsv").write_text(SENTENCES)
    words = (
        run,
        "--tasks",
        "sst2",
        "--data.source",
        f"files:{tmp_path}/dev.tsv",
        "--shots",
        "0,1",
        "--seed",
        "0,1",
        "--limit",
        6,
    )
    code, said, errors = command(*words)
    assert code == 0, errors
    scores = json.loads((run / "scores-few_shot.json").read_text())
    assert scores["examples_sst2"] == 6 and scores["floor_sst2"] == 0.5 and scores["step"] == 2
    assert {"accuracy_sst2_0_shot", "accuracy_sst2_1_shot", "accuracy_spread_sst2_1_shot"} < set(scores)
    assert all(isinstance(value, int | float) for value in scores.values()) and "accuracy_sst2_0_shot" in said
    code, _, errors = command(*words)
    assert code == 2 and "scores-few_shot.json is there already; name a new file with --out" in errors
    assert command(*words, "--out", tmp_path / "again.json")[0] == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert again == scores
    code, _, errors = command(run, "--tasks", "wikitext", "--out", tmp_path / "text.json")
    assert code == 2 and "wikitext has no text of its own; name some with --data.source" in errors
    (tmp_path / "a.txt").write_text("= A =\n A cat , old .\n" * 20)
    source = ("--data.source", f"files:{tmp_path}/a.txt#whole")
    assert command(run, "--tasks", "wikitext", *source, "--out", tmp_path / "text.json")[0] == 0
    found = json.loads((tmp_path / "text.json").read_text())
    assert found["texts_wikitext"] == 1 and 1 < found["bits_per_byte_wikitext"] < 40


MISTAKES = [
    (("--tasks", "sst3"), "--tasks: there is no task 'sst3'; did you mean sst2?"),
    (("--tasks", "sst2", "--shots", "few"), "--shots few is no list of whole numbers"),
    (("--tasks", "sst2", "--seed", "0,0"), "--seed 0,0 is no list of whole numbers, each once"),
    (("--tasks", "sst2", "--limit", "0"), "--limit 0 leaves no example"),
    (("--tasks", "sst2", "--harness", "piqa"), "one of the two"),
    (("--tasks", ","), "--tasks names no task; there are sst2"),
    (("--tasks", "sst2", "--shot", "1"), "did you mean --shots?"),
    (("--tasks", "sst2", "--out", "README.md"), "--out README.md is there already"),
]


@pytest.mark.parametrize(("words", "error"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistakes_are_one_line_before_jax_is_needed(command, words, error, monkeypatch):
    monkeypatch.setattr(prompting, "configure_jax", lambda: pytest.fail("too late"))
    code, said, errors = command(PUBLISHED.parents[1] / "twins/gpt2", *words)
    assert (code, said) == (2, "") and error in errors and errors.count("\n") == 1


def test_help_lists_the_options(command):
    code, said, _ = command("x", "--tasks", "sst2", "--help")
    assert code == 0 and "--shots" in said and "--harness" in said
