"""Scores of answers and of written text: the official scripts worked by hand, sacrebleu, rouge-score, and every script."""

import math

import numpy as np
import pytest

from train import answer_metrics as answers
from train import task_metrics as metrics
from train import text_metrics as texts

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
        assert answers.scoring_of("auto", [[text]])[0] in ("squad", "unicode", "cmrc2018")
        found = answers.answer_scores([text + "."], [[text]], scoring=answers.scoring_of("auto", [[text]]))
        assert set(found.values()) == {1.0}


@pytest.mark.parametrize(
    ("reference", "written", "share"),  # the second is what the first shares with it
    [
        ("Москва 2020 год", "Киев 2020 лето", 1 / 3),
        ("2020", "Москва 2020", 2 / 3),
        ("cat 2020", "кот 2020", 1 / 2),
        ("中国 2020", "日本 2020", 1 / 3),
        ("हिन्दी २०२०", "उर्दू २०२०", 1 / 2),
        ("\uff21\uff22 2020", "\uff23\uff24 2020", 1 / 2),  # of full width
        ("great 😀", "great 😡", 1 / 2),
        ("fu\u0308r 5", "fur 5", 1 / 2),  # a letter and its accent apart
        ("she was running in the city of Київ", "she was runs in the city of Рим", 7 / 8),
    ],
)
@pytest.mark.parametrize("tokenizer", ["auto", "13a"])
def test_a_text_among_english_ones_does_not_lose_its_words(reference, written, share, tokenizer):
    english = ["The cats sat on the mat again."] * 40
    scores, signatures = texts.generation_scores(
        [written, *english], [[text] for text in [reference, *english]], ["rouge1"], tokenizer=tokenizer
    )
    assert 41 * scores["rouge1"] - 40 == pytest.approx(share)
    assert "stems:yes|tok:english,english+unicode:1/41|" in signatures["rouge"]


def test_each_question_is_scored_as_its_language_asks():
    golds = [["the Beatles"], ["Köln"], ["北京"], ["Москва"], ["1990"], []]
    assert answers.scoring_of("auto", golds) == ["squad", "squad", "cmrc2018", "unicode", "squad", "squad"]
    assert answers.scoring_signature("auto", golds) == "script:squad,cmrc2018:1/6,unicode:1/6"
    given = ["Beatles", "Köln.", "北京。", "«Москва»", "1990", ""]
    assert set(answers.answer_scores(given, golds, scoring=answers.scoring_of("auto", golds)).values()) == {1.0}
    chinese = [["北京"], *[["上海"]] * 20, ["the NBA"], ["Sony中国公司"]]  # scored whole by CMRC's script
    assert set(answers.scoring_of("auto", chinese)) == {"cmrc2018"}


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
