"""Expressions of an adapter's alpha_pattern: as `re` has them, and in a time that does not grow beyond their length."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.peft.patterns import Pattern, Patterns
from model.peft.sites import PeftError

NAMES = [
    "transformer.h.0.attn.c_attn",
    "transformer.h.10.attn.c_attn",
    "transformer.h.1.mlp.c_fc",
    "encoder.layer.3.attention.self.query",
    "classifier",
    "attn",
    "self_attn",
    "",
]
ATOMS = st.sampled_from(
    ["a", "h", "attn", ".", r"\.", r"\d", r"\w", r"\D", "[0-3]", "[^.]", "[at.n]", r"[\d_]", "c_attn"]
)
PARTS = st.tuples(ATOMS, st.sampled_from(["", "", "*", "+", "?", "{2}", "{0,3}", "{1,}"])).map("".join)
EXPRESSIONS = st.recursive(
    st.lists(PARTS, min_size=1, max_size=5).map("".join),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("|".join),
        st.tuples(st.sampled_from(["(", "(?:"]), inner, st.sampled_from([")", ")*", ")?", "){2}"])).map("".join),
    ),
    max_leaves=4,
)


SHORT = [name[-14:] for name in NAMES]  # `re` itself takes long over longer ones


@settings(deadline=None, derandomize=True)
@given(EXPRESSIONS, st.sampled_from(SHORT) | st.text("ah.t0n1_c", max_size=8))
def test_it_says_what_re_says(expression, name):
    assert Pattern(expression).meets(name) == bool(re.match(rf"(.*\.)?({expression})$", name))


@pytest.mark.parametrize("expression", ["^transformer.h.0.attn.c_attn", "^attn", "c_attn$", r"^.*\.1\..*"])
def test_ends_that_are_said(expression):
    for name in filter(None, NAMES):
        assert Pattern(expression).meets(name) == bool(re.match(rf"(.*\.)?({expression})$", name)), name


@pytest.mark.parametrize(
    "expression", ["(a+)+b", "(a|aa)*b", "(.*)*(.*)*(.*)*x", "(a?){30}a{30}b", "(([a-z])+.)+[A-Z]"]
)
def test_none_takes_long(expression):
    start = time.process_time()
    assert not Pattern(expression).meets("a" * 300 + ".!")
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "expression",
    ["(", "a)", "[a", "[", "*a", "a**", r"\1", r"(?P<x>a)", "(?=a)", "a{2,1}", "a{101}", "(" * 200 + ")" * 200, "a" * 501,
     "((a{100}){100}){100}", "(((){100}){100}){100}", "a^b", "\\", "[b-a]", "[a-\\d]"],
)  # fmt: skip
def test_what_is_not_understood_is_refused_at_once(expression):
    start = time.process_time()
    with pytest.raises(PeftError, match="alpha_pattern") as caught:
        Pattern(expression)
    assert time.process_time() - start < 2 and len(str(caught.value)) < 1_500


def test_the_first_that_a_name_meets_counts():
    table = Patterns({"h.0.attn.c_attn": 4, r"h\.\d+\.attn\.c_attn": 2.5, "c_attn": 9})
    assert [table.value(name, 1.0) for name in NAMES[:4]] == [4.0, 2.5, 1.0, 1.0]


@pytest.mark.parametrize("value", ["4", True, None, -1, float("nan"), [4]])
def test_values_are_numbers(value):
    with pytest.raises(PeftError, match="positive number"):
        Patterns({"attn": value})


def test_many_expressions_take_a_bounded_time():
    table = Patterns({f"(.*a|.*b|.*[a-{letter}]).*{number}": 1 for number in range(40) for letter in "cdefghij"})
    start = time.process_time()
    with pytest.raises(PeftError, match="too long"):
        for number in range(10_000):
            table.value("ab" * 60 + str(number), 1.0)
    assert time.process_time() - start < 10
