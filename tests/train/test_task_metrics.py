"""Metrics of tasks against the libraries that define them, the official scripts worked by hand, and the edges."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from data.tasks.tag_schemes import NAMES, Spelling, tags_of
from train import answer_metrics as answers
from train import tag_metrics as tags
from train import task_metrics as metrics
from train import text_metrics as texts

LABELS = ("no", "yes")


def some(seed, n=40, classes=3):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    return logits, rng.integers(0, classes, n)


# Classes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 5])
def test_classification_is_scikit_learns(seed, classes):
    logits, targets = some(seed, classes=classes)
    predicted = logits.argmax(1)
    probabilities = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    expected = {
        "accuracy": sk.accuracy_score(targets, predicted),
        "macro_f1": sk.f1_score(targets, predicted, average="macro"),
        "matthews": sk.matthews_corrcoef(targets, predicted),
        "valid_loss": sk.log_loss(targets, probabilities, labels=range(classes)),
    }
    if classes == 2:
        expected["f1"] = sk.f1_score(targets, predicted)
    scores = metrics.classification_scores(logits, targets, [str(c) for c in range(classes)])
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-7)
    assert set(scores) == {*expected, "expected_calibration_error"}
    assert all(type(value) is float for value in scores.values())


def test_f1_is_that_of_the_second_class():
    logits = np.eye(2, dtype=np.float32)[[1, 1, 0, 0, 0]]
    scores = metrics.classification_scores(logits, np.array([1, 0, 1, 0, 0]), LABELS, ["f1"])
    assert scores == {"f1": pytest.approx(0.5)}  # one hit, one false alarm, one missed


@pytest.mark.parametrize("targets", [[0, 1, 1], [0, 0, 0], [1, 1, 1]])
@pytest.mark.parametrize("always", [0, 1])
def test_constant_predictions_have_scores_and_no_warnings(targets, always):
    logits = np.zeros((3, 2), np.float32)
    logits[:, always] = 3
    scores = metrics.classification_scores(logits, np.array(targets), LABELS)
    assert scores["matthews"] == 0.0
    assert all(math.isfinite(value) for value in scores.values())


def test_a_uniform_model_loses_log_classes():
    scores = metrics.classification_scores(np.zeros((6, 4), np.float32), np.arange(6) % 4, "abcd", ["valid_loss"])
    assert scores["valid_loss"] == pytest.approx(math.log(4))


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4], [3e38, 0]], np.float32)
    assert metrics.classification_scores(logits, np.array([0, 0]), LABELS)["valid_loss"] == 0.0


def test_calibration_error_by_hand():
    """Two predictions at 0.9, one right: |0.5 - 0.9|; two at 0.6, both right: |1 - 0.6|; each half of the examples."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]])
    targets = np.array([0, 1, 1, 0])
    assert metrics.expected_calibration_error(probabilities, targets) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    bins = metrics.calibration_bins(probabilities, targets)
    assert len(bins) == 15 and sum(b.count for b in bins) == 4
    assert bins[13] == (2, pytest.approx(0.9), 0.5) and bins[8] == (2, pytest.approx(0.6), 1.0)


def test_a_calibrated_model_has_no_calibration_error():
    confidence = np.repeat([0.55, 0.75, 0.95], 20_000)
    targets = (np.random.default_rng(0).random(60_000) > confidence).astype(int)
    probabilities = np.stack([confidence, 1 - confidence], 1)
    assert metrics.expected_calibration_error(probabilities, targets) < 0.01


def test_the_edges_of_bins_belong_to_the_lower_one():
    probabilities = np.array([[1.0, 0.0], [0.6, 0.4]])
    bins = metrics.calibration_bins(probabilities, np.array([0, 0]), bins=5)
    assert [b.count for b in bins] == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 2, (30, 4)).astype(np.float32)
    predicted = (logits > 0).astype(int)
    scores = metrics.multi_label_scores(logits, targets, "abcd")
    assert scores["micro_f1"] == pytest.approx(sk.f1_score(targets, predicted, average="micro"))
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(targets, predicted, average="macro"))
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    probability = 1 / (1 + np.exp(-logits.astype(float)))
    loss = -(targets * np.log(probability) + (1 - targets) * np.log(1 - probability)).mean()
    assert scores["valid_loss"] == pytest.approx(loss)
    nothing = metrics.multi_label_scores(-abs(logits), np.zeros((30, 4), np.float32), "abcd")
    assert nothing["micro_f1"] == nothing["macro_f1"] == 0.0 and nothing["accuracy"] == 1.0


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_regression_is_scipys(pairs):
    x, y = np.array(pairs, float).T
    scores = metrics.regression_scores(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pearson, spearman = scipy.stats.pearsonr(x, y)[0], scipy.stats.spearmanr(x, y)[0]
    assert scores["pearson"] == pytest.approx(np.nan_to_num(pearson), abs=1e-9)
    assert scores["spearman"] == pytest.approx(np.nan_to_num(spearman), abs=1e-9)
    assert scores["mse"] == pytest.approx(((x - y) ** 2).mean())


def test_what_does_not_vary_correlates_with_nothing():
    scores = metrics.regression_scores(np.full(7, 0.1), np.arange(7.0))
    assert scores["pearson"] == scores["spearman"] == 0.0


def test_the_report_of_classes_is_scikit_learns():
    logits, targets = some(1, classes=4)
    predicted = logits.argmax(1)
    ours = metrics.classification_report(predicted, targets, ("a", "b", "c", "d", "never"))
    theirs = sk.classification_report(
        targets, predicted, labels=range(5), target_names=list(ours), output_dict=True, zero_division=0
    )
    for label, row in ours.items():
        assert row["f1"] == pytest.approx(theirs[label]["f1-score"]) and row["support"] == theirs[label]["support"]
    assert ours["never"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert (
        metrics.confusion_matrix(predicted, targets, 5) == sk.confusion_matrix(targets, predicted, labels=range(5))
    ).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.check_metrics("classification", ["bleu"]), "use accuracy, f1, macro_f1"),
        (lambda: metrics.check_metrics("classification", ["f1"], 3), "use macro_f1"),
        (lambda: metrics.check_metrics("classification", ["bleu"], 3), "use accuracy, macro_f1"),
        (lambda: metrics.check_metrics("guessing", []), "there are classification"),
        (lambda: metrics.classification_scores(np.zeros((2, 3)), np.zeros(2, int), LABELS), r"must be \(2, 2\)"),
        (lambda: metrics.classification_scores(np.zeros((2, 2)), np.array([0, 2]), LABELS), "target 2 of example 1"),
        (lambda: metrics.classification_scores(np.zeros((0, 2)), np.zeros(0, int), LABELS), "empty"),
        (lambda: metrics.classification_scores(np.full((1, 2), np.nan), np.zeros(1, int), LABELS), "not finite"),
        (lambda: metrics.regression_scores(np.zeros(2), np.zeros(3)), "2 predictions for 3 targets"),
        (lambda: metrics.multi_label_scores(np.zeros((1, 2)), np.full((1, 2), 0.5), LABELS), "0 or 1"),
        (lambda: tags.tagging_scores([["O"]], [["O", "O"]]), "text 0 has 2 words"),
        (lambda: tags.tagging_scores([["NN"]], [["VB"]]), "name another scheme, or the metric accuracy"),
        (lambda: tags.tagging_scores([["E-X"]], [["B-X"]]), "'E-X' of word 0 of text 0"),
        (lambda: answers.answer_scores(["a"], []), "1 answers to 0 questions"),
        (lambda: answers.answer_scores(["a"], [[]], version=1), "version=2"),
        (lambda: texts.generation_scores(["a"], ["a"]), "a list of one reference"),
        (lambda: texts.generation_scores(["a"], [["a"]], ["accuracy"]), "use bleu"),
        (lambda: texts.perplexity(1.0, 0), "there are none"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(call, words):
    with pytest.raises(metrics.MetricError, match=words) as caught:
        call()
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


# Tags

TEXT = ["B-PER", "I-PER", "O", "B-LOC"]


def test_strict_and_default_differ_as_measured():
    """Wrong openings: seqeval's default forgives, strict IOB2 does not."""
    scores = tags.tagging_scores([["I-PER", "I-PER"]], [["B-PER", "I-PER"]])
    assert scores["f1"] == 1.0 and scores["f1_strict"] == 0.0 and scores["accuracy"] == 0.5


def test_the_published_example_of_seqeval():
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    seen = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    scores = tags.tagging_scores(seen, true)
    assert scores["f1"] == scores["f1_strict"] == scores["precision"] == scores["recall_strict"] == 0.5
    assert scores["accuracy"] == pytest.approx(0.8)


@pytest.mark.parametrize("scheme", ["IOB2", "BIO", "IOBES", "BIOES", "BILOU", "BMES"])
def test_schemes_that_spell_the_same_entities_score_alike(scheme):
    spelt = {
        "IOB2": (["B-A", "I-A", "I-A", "B-B", "O"], ["B-A", "I-A", "O", "B-B", "O"]),
        "BIO": (["B-A", "I-A", "I-A", "B-B", "O"], ["B-A", "I-A", "O", "B-B", "O"]),
        "BIOES": (["B-A", "I-A", "E-A", "S-B", "O"], ["B-A", "E-A", "O", "S-B", "O"]),
        "IOBES": (["B-A", "I-A", "E-A", "S-B", "O"], ["B-A", "E-A", "O", "S-B", "O"]),
        "BILOU": (["B-A", "I-A", "L-A", "U-B", "O"], ["B-A", "L-A", "O", "U-B", "O"]),
        "BMES": (["B-A", "M-A", "E-A", "S-B", "O"], ["B-A", "E-A", "O", "S-B", "O"]),
    }
    true, seen = spelt[scheme]
    scores = tags.tagging_scores([seen], [true], scheme)
    assert scores["f1_strict"] == scores["f1"] == 0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mark", ["-", "_"])
def test_a_perfect_tagger_scores_1_in_every_scheme(name, mark):
    spans = [[("A", 0, 2), ("A", 2, 3), ("B", 4, 5)], [("B", 0, 3)]]
    grammar, letters = NAMES[name]
    for spelling in (
        Spelling("letter first", mark),
        Spelling("letter last", mark),
        Spelling("letter first", mark, True),
    ):
        written = [[spelling.write(tag, letters) for tag in tags_of(one, 5, grammar)] for one in spans]
        scores = tags.tagging_scores(written, written, name)
        assert all(scores[name] == 1.0 for name in scores), (scores, written)
        wrong = [written[0], written[1][::-1]]
        assert 0 < tags.tagging_scores(wrong, written, name)["f1_strict"] < 1


def test_predictions_in_another_scheme_are_noticed():
    labels = ["O", "B-A", "I-A"]
    ours, theirs = ([[f"{x.letter}-A" if x.letter != "O" else "O" for x in tags_of([("A", 0, 2), ("A", 3, 4)], 5, g)]] * 3
                    for g in ("IOB1", "IOB2"))  # fmt: skip
    assert tags.tagging_scores(ours, theirs)["f1_strict"] == 0.0
    assert tags.doubtful_scheme(ours, "IOB2", labels) == "IOB1"
    assert tags.doubtful_scheme(theirs, "IOB2", labels) == tags.doubtful_scheme(ours, "IOB1", labels) == ""
    assert tags.doubtful_scheme([["O"]], "IOB2", labels) == ""


def test_tags_without_beginnings():
    scores = tags.tagging_scores([["I-A", "I-A", "O", "I-B"]], [["I-A", "I-A", "O", "I-A"]], "IO")
    assert scores["f1_strict"] == scores["f1"] == 0.5


def test_the_mean_f1_of_tags():
    scores = tags.tagging_scores([["NN", "VB", "NN"]], [["NN", "VB", "VB"]], metrics=["macro_f1"])
    assert scores == {"macro_f1": pytest.approx(sk.f1_score(["NN", "VB", "VB"], ["NN", "VB", "NN"], average="macro"))}


def test_no_entities_anywhere_is_no_warning():
    scores = tags.tagging_scores([["O", "O"]], [["O", "O"]])
    assert scores["f1"] == scores["f1_strict"] == 0.0 and scores["accuracy"] == 1.0
    assert tags.tagging_scores([["O", "O", "O", "O"]], [TEXT])["f1_strict"] == 0.0
    assert tags.tagging_scores([TEXT], [TEXT])["f1_strict"] == 1.0
    assert tags.tagging_scores([["NN"], []], [["NN"], []], metrics=["accuracy"]) == {"accuracy": 1.0}


# Answers


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("Denver Broncos", "Denver Broncos", 1, 1),
        ("The Denver Broncos!", "denver broncos", 1, 1),
        ("Santa Clara, California", "Santa Clara", 0, 0.8),
        ("in the Levi's Stadium", "Levi's Stadium", 0, 0.8),
        ("Levis Stadium", "Levi's Stadium", 1, 1),  # punctuation goes, and nothing takes its place
        ("a b a c", "b b d", 0, 2 * (1 / 2) * (1 / 3) / (5 / 6)),  # bags: one b shared
        ("cat", "dog", 0, 0),
        ("anthem", "them", 0, 0),  # articles are words, never parts of words
    ],
)
def test_answers_worked_by_hand(answer, gold, exact, f1):
    assert answers.exact_match(answer, gold) == exact
    assert answers.f1(answer, gold) == pytest.approx(f1)


def test_the_best_gold_counts_for_each_score_apart():
    scores = answers.answer_scores(["big cat"], [["cat", "big dog cat"]])
    assert scores == {"f1": pytest.approx(0.8), "exact_match": 0.0}


def test_questions_without_answers_are_scored_apart():
    golds = [["Paris"], ["Rome"], [], []]
    scores = answers.answer_scores(["Paris", "", "", "London"], golds)
    assert scores == {
        "f1": 0.5, "exact_match": 0.5, "f1_has_answer": 0.5, "exact_match_has_answer": 0.5,
        "f1_no_answer": 0.5, "exact_match_no_answer": 0.5,
    }  # fmt: skip


def test_versions_differ_where_nothing_is_left_of_a_text():
    """A gold of an article only: equal after normalisation, no words shared; version 2 drops such golds."""
    assert answers.answer_scores(["the"], [["the"]], version=1) == {"f1": 0.0, "exact_match": 1.0}
    two = answers.answer_scores(["the"], [["the"]], version=2)
    assert two["f1"] == two["exact_match"] == 1.0 and two["f1_has_answer"] == 1.0


def test_the_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(3)
    golds = [["cat"] if has else [] for has in rng.random(30) < 0.5]
    guesses = [str(rng.choice(["cat", "dog", ""])) for _ in golds]
    no_answer = rng.random(30)
    best, threshold = answers.best_threshold(guesses, golds, no_answer)

    def at(limit):
        kept = ["" if score > limit else guess for guess, score in zip(guesses, no_answer, strict=True)]
        return answers.answer_scores(kept, golds, version=2)["f1"]

    assert best == pytest.approx(at(threshold)) == pytest.approx(max(at(limit) for limit in [-1, *no_answer]))


def test_a_threshold_under_all_scores_answers_nothing():
    assert answers.best_threshold(["dog"], [["cat"]], [-3.0]) == (0.0, -4.0)


# Texts


def test_sacrebleus_own_numbers_and_signature():
    """The example of sacrebleu's documentation: two references, 48.53."""
    system = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = [
        ["The dog bit the man.", "The dog had bit the man."],
        ["It was not unexpected.", "No one was surprised."],
        ["The man bit him first.", "The man had bitten the dog."],
    ]
    scores, signatures = texts.generation_scores(system, references, ["bleu", "chrf"])
    assert scores["bleu"] == pytest.approx(48.53, abs=0.005)
    assert signatures["bleu"].startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert signatures["chrf"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0")


def test_references_may_differ_in_number():
    system, first = ["the cat sat", "a dog ran"], [["the cat sat down"], ["a dog ran"]]
    more = [first[0], [*first[1], "one dog was running"]]
    scores, signatures = texts.generation_scores(system, more)
    assert scores["chrf"] >= texts.generation_scores(system, first)[0]["chrf"] - 1e-9
    assert signatures["bleu"].startswith("nrefs:var|") and scores["exact_match"] == 0.5


def test_rouge_is_that_of_its_documentation():
    """The example of rouge-score: its README's pair, rouge1 6/8 and 6/9 with stems."""
    one = texts.rouge_scores(
        ["The quick brown dog jumps on the log."],
        [["The quick brown fox jumps over the lazy dog"]],
        ["rouge1", "rougeL"],
    )
    assert one["rouge1"] == pytest.approx(2 * (6 / 8) * (6 / 9) / (6 / 8 + 6 / 9))
    assert one["rougeL"] == pytest.approx(2 * (5 / 8) * (5 / 9) / (5 / 8 + 5 / 9))


def test_rouge_takes_the_best_reference_and_sentences_for_lines():
    scores = texts.rouge_scores(["one two three"], [["nine", "one two three"]])
    assert scores["rouge1"] == scores["rouge2"] == 1.0
    swapped = texts.rouge_scores(["It is late. We go home."], [["We go home. It is late."]], ["rougeL", "rougeLsum"])
    assert swapped["rougeLsum"] == 1.0 > swapped["rougeL"]


LANGUAGES = {
    "Chinese": "今天天气很好。我们出去玩吧。", "Japanese": "今日はとても良い天気です。", "Korean": "오늘은 날씨가 아주 좋습니다.",
    "Thai": "วันนี้อากาศดีมาก", "Khmer": "ថ្ងៃនេះអាកាសធាតុល្អ", "Russian": "Сегодня очень хорошая погода.",
    "Arabic": "الطقس جميل جدا اليوم", "Hindi": "आज मौसम बहुत अच्छा है।", "Greek": "Καιρός είναι πολύ καλός.",
    "German": "Übermütige Bären äßen Öl.", "Tibetan": "བཀྲ་ཤིས་བདེ་ལེགས།", "English": "It is a very fine day.", "digits": "1 2 3 4 5",
    "one word": "да", "one character": "好", "marks": "?!…", "emoji": "😀",
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_that_is_its_reference_scores_all_there_is(language):
    text = LANGUAGES[language]
    scores, _ = texts.generation_scores([text] * 3, [[text]] * 3)
    whole = {name: 100.0 if name in texts.SACREBLEU else 1.0 for name in scores}
    assert scores == pytest.approx(whole), scores
    other = LANGUAGES["English" if language != "English" else "Russian"]
    assert (
        texts.generation_scores([other] * 3, [[text]] * 3)[0]["rouge1"] < 0.1
    )  # a full stop, where there are marks only
    mixed = [text, *["The cat sat on the mat again."] * 40]  # one line of it among English ones
    assert texts.rouge_scores(mixed, [[text] for text in mixed], ["rouge1", "rougeL"]) == {"rouge1": 1.0, "rougeL": 1.0}
    if language not in ("marks", "emoji"):
        assert answers.scoring_of("auto", [[text]]) in ("squad", "unicode", "cmrc2018")
        found = answers.answer_scores([text + "."], [[text]], scoring=answers.scoring_of("auto", [[text]]))
        assert set(found.values()) == {1.0}


def test_other_languages_keep_their_letters_and_their_endings():
    chinese = [["今天天气很好。我们出去玩吧。"]]
    scores, signatures = texts.generation_scores(["今天天气很好。"], chinese)
    assert "tok:zh" in signatures["bleu"] and 0 < scores["rouge1"] < 1 and scores["rouge2"] > 0
    assert signatures["rouge"].startswith("stems:no|tok:unicode|")
    assert texts.rouge_scores(["läuft"], [["laufen"]], ["rouge1"], tokenizer="intl") == {"rouge1": 0.0}
    assert texts.rouge_scores(["running"], [["runs"]], ["rouge1"]) == {"rouge1": 1.0}
    assert texts.rouge_scores(["running"], [["runs"]], ["rouge1"], tokenizer="intl") == {"rouge1": 0.0}
    char = texts.generation_scores(["abc"], [["abd"]], tokenizer="char")
    assert (
        char[0]["rouge1"] == pytest.approx(2 / 3) and "tok:char" in char[1]["bleu"] and "tok:char" in char[1]["rouge"]
    )


def test_english_is_counted_as_rouge_score_and_sacrebleu_count_it():
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

    ours = ["The dogs' café was running well!", "A naive view, they said; nothing else mattered to them."]
    golds = ["The dog's cafe runs very well.", "A naïve view, it was said: nothing else matters to anyone at all. " * 3]
    scores, signatures = texts.generation_scores(
        ours, [[gold] for gold in golds], ["bleu", "rouge1", "rouge2", "rougeL"]
    )
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    theirs = [scorer.score(gold, our) for gold, our in zip(golds, ours, strict=True)]
    for name in ("rouge1", "rouge2", "rougeL"):
        assert scores[name] == pytest.approx(np.mean([one[name].fmeasure for one in theirs]))
    assert scores["bleu"] == BLEU().corpus_score(ours, [golds]).score
    assert "|tok:13a|" in signatures["bleu"] and "stems:yes|tok:english" in signatures["rouge"]


def test_a_tokenizer_that_is_not_there_is_one_line():
    pytest.importorskip("sacrebleu")
    try:
        import MeCab  # noqa: F401
    except ImportError:
        from train.metric_tokens import check_tokenizer

        with pytest.raises(
            metrics.MetricError, match=r"pip install 'sacrebleu\[ja\]', or use --data.task.metric_tokenizer char"
        ):
            check_tokenizer("ja-mecab")


def test_answers_are_compared_as_their_language_asks():
    assert (
        answers.answer_scores(["北京。"], [["北京"]])["exact_match"] == 0.0
    )  # SQuAD's script, which knows ASCII marks only
    chinese = answers.answer_scores(["北京大学"], [["北京的大学。"]], scoring="cmrc2018")
    assert chinese == {
        "f1": pytest.approx(2 * 0.5 * 0.4 / 0.9),
        "exact_match": 0.0,
    }  # the longest common run: two of four, of five
    assert answers.answer_scores(["das Haus"], [["Ein Haus!"]], scoring="mlqa-de")["exact_match"] == 1.0
    assert answers.answer_scores(["北京大学"], [["大学北京"]], scoring="mlqa-zh")["f1"] == 1.0
    assert answers.f1("«Москва»", "москва", scoring="unicode") == 1.0
    assert (
        answers.best_threshold(["北京。"], [["北京"]], [0.0], scoring="cmrc2018")[0]
        == answers.span_f1(["北京。"], [["北京"]], "cmrc2018")
        == 1
    )
    with pytest.raises(metrics.MetricError, match="no scoring of answers is called mlqa-xx"):
        answers.exact_match("a", "a", scoring="mlqa-xx")


def test_empty_texts_have_scores():
    scores, _ = texts.generation_scores(["", "a b c d"], [["x"], ["a b c d"]])
    assert all(math.isfinite(value) for value in scores.values()) and scores["exact_match"] == 0.5
    assert texts.generation_scores([""], [[""]])[0]["exact_match"] == 1.0


def test_losses_as_perplexity_and_bits():
    assert texts.perplexity(math.log(50) * 7, 7) == pytest.approx(50)
    assert texts.bits_per_byte(math.log(2) * 16, 8) == pytest.approx(2)
    assert math.isfinite(texts.perplexity(1e9, 1))
