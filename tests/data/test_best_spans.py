"""The likeliest spans of all windows of a text: by hand, against all pairs, and the best threshold for no answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.tasks.best_spans import WindowScores, best_null_threshold, best_spans


def test_the_best_of_all_windows_as_published():
    context = "the cat sat on the mat"
    starts = np.array([0, 4, 8, 12, 15, 19])
    stops = np.array([3, 7, 11, 14, 18, 22])
    one = WindowScores(np.array([2.0, 0, 0, 5, 1, 0]), np.array([1.0, 0, 0, 0, 4, 0]), 2, starts[:4], stops[:4])
    two = WindowScores(np.array([1.0, 0, 1, 0, 7, 0]), np.array([0.5, 0, 9, 1, 0, 6]), 2, starts[2:], stops[2:])
    found = best_spans(context, [one, two], best=20, max_answer=30)
    assert found.null_score == 1.5  # the least of the windows
    assert found.spans[0].text == "the mat" and found.spans[0].score == 13.0  # an end before its start does not count
    assert found.spans[0].start == 15 and context[15:22] == "the mat"
    assert found.text(no_answer=True) == "the mat" and found.text(no_answer=True, threshold=-12.0) == ""
    assert found.difference == 1.5 - 13.0
    total = sum(span.probability for span in best_spans(context, [one, two], best=99).spans)
    assert 0.99 < total < 1.0
    short = best_spans(context, [one, two], max_answer=1)
    assert all(" " not in span.text for span in short.spans)
    masked = two._replace(widest=np.array([True, True, False, True]))
    assert best_spans(context, [one, masked]).spans[0].text == "sat"  # 1 + 9; "cat sat" has 5 + 4
    few = best_spans(context, [two], best=1)  # the highest start with the highest end, which lies before it
    assert few.spans == () and few.text(no_answer=False) == "" and few.difference == float("inf")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_best_spans_against_all_pairs(data):
    size = data.draw(st.integers(1, 6))
    floats = st.lists(st.integers(-9, 9), min_size=size + 1, max_size=size + 1)
    start, end = (np.array(data.draw(floats), np.float32) for _ in range(2))
    most = data.draw(st.integers(1, 6))
    starts = np.arange(size) * 2
    found = best_spans("x" * 20, [WindowScores(start, end, 1, starts, starts + 1)], best=99, max_answer=most)
    pairs = {
        (2 * i, 2 * j + 1): float(start[i + 1] + end[j + 1]) for i in range(size) for j in range(i, min(size, i + most))
    }
    assert {(span.start, span.stop): span.score for span in found.spans} == pairs
    assert [span.score for span in found.spans] == sorted(pairs.values(), reverse=True)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=12)
)
@settings(max_examples=80, deadline=None)
def test_the_best_threshold_is_the_best(questions):
    differences, scores, answerable = map(list, zip(*questions, strict=True))
    scores = [score if has else 0.0 for score, has in zip(scores, answerable, strict=True)]

    def mean(threshold):
        gained = [
            (score if difference <= threshold else float(not has)) if has or difference > threshold else 0.0
            for difference, score, has in zip(differences, scores, answerable, strict=True)
        ]
        return sum(gained) / len(gained)

    best, threshold = best_null_threshold(differences, scores, answerable)
    tried = [mean(t) for t in range(-5, 5)]
    assert best == pytest.approx(max(tried))
    if best > sum(not has for has in answerable) / len(answerable):
        assert mean(threshold) == pytest.approx(best)
