"""Scores of tagged entities against seqeval, in every scheme and spelling."""

import pytest
import sklearn.metrics as sk

from data.tasks.tag_schemes import NAMES, Spelling, tags_of
from train import tag_metrics as tags

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
