"""Files of others: JSON within bounds, and lines that may be printed."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.foreign import DEPTH, LINE, JSONProblem, decode_json, explained, one_line, read_json
from model.published import HubError

ROOT = Path(__file__).parents[1]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_model_and_data_have_the_same_reader():
    assert (ROOT / "data/foreign.py").read_bytes() == (ROOT / "model/foreign.py").read_bytes()


@settings(deadline=None, max_examples=30)
@given(VALUES, st.booleans())
def test_what_json_writes_is_read(value, ascii_only):
    assert decode_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    "content, said",
    [
        ("[" * 100_000, "deep in each other"),
        ('{"a":' * 100_000, "deep in each other"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "deep in each other"),
        ('["' + "[" * 1_000 + '", ' + "[" * (DEPTH + 1) + "]" * (DEPTH + 2), "deep in each other"),
        ("1" * 5_000, "a number of 5,000 characters"),
        ("[1." + "1" * 5_000 + "]", "a number of 5,002 characters"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the name 'c' stands twice"),
        ('["\\ud800"]', "half of a surrogate pair"),
        (b'["\xff"]', "not UTF-8 at byte 2"),
        ('{"a": }', "line 1, column 7"),
        ("", "line 1, column 1"),
    ],
)
def test_what_no_honest_file_holds_is_refused_at_once(content, said):
    start = time.process_time()
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        decode_json(content)
    assert time.process_time() - start < 2


@settings(deadline=None)
@given(st.text(alphabet='[]{}"\\\\a:, \n', max_size=40), st.integers(1, DEPTH + 2))
def test_depth_is_that_of_the_value(text, depth):
    content = "[" * depth + json.dumps([text, {text: text}]) + "]" * depth
    if depth + 2 <= DEPTH:
        assert decode_json(content, lenient=True) == decode_json(content)
        return
    with pytest.raises(JSONProblem, match="deep in each other") as refused:
        decode_json(content, lenient=True)
    assert refused.value.at is not None and content[refused.value.at] in "[{"


def test_large_files_have_a_lenient_reader_with_the_same_bounds():
    content = '{"a": [1, "\\ud800 \\ud83d\\ude00"], "a": "\\udc00", "f": 0.' + "1" * 200 + "}"
    assert decode_json(content, lenient=True) == {"a": "?", "f": 1 / 9}
    for bad, said in (("9" * 101, "101 characters"), ("[" * 101 + "]" * 101, "more than 100 deep")):
        with pytest.raises(JSONProblem, match=said) as refused:
            decode_json('{"text": "' + bad + '",\n"b": ' + bad + "}", lenient=True)
        assert (refused.value.at or 0) > len(bad)  # not the like of it in a text


def test_brackets_in_texts_are_no_depth():
    assert decode_json(json.dumps(["[" * 5_000, '\\"' + "{" * 5_000])) == ["[" * 5_000, '\\"' + "{" * 5_000]
    assert decode_json(b"\xef\xbb\xbf[" * 1 + b"[" * (DEPTH - 1) + b"]" * DEPTH)


def test_a_file_that_is_none_or_too_large(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "list").write_text("[]")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 34)
    for name, said in (("pipe", "not a regular file"), ("large", "17,179,869,184 bytes"), ("list", "JSON object"),
                       ("none", "No such file")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            read_json(tmp_path / name, DataError)


@settings(deadline=None)
@given(st.text(max_size=50), st.sampled_from([1, 40, 4_000]))
def test_a_message_is_one_short_line_that_may_be_printed(text, times):
    line = one_line(text * times)
    assert len(line) <= LINE and "\n" not in line
    line.encode()
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in line)


@pytest.mark.parametrize("error", [HubError, DataError])
def test_errors_are_born_as_such_lines(error):
    said = str(error(f"the name {'x' * 5_000!r} or \x1b[31m\u202e {['name'] * 9_000} is wrong; choose another"))
    assert len(said) <= LINE and said.startswith("the name 'xxx") and said.endswith("is wrong; choose another")
    assert "\x1b" not in said and "\u202e" not in said


class Panic(BaseException):
    """What pyo3 raises where Rust panics."""


@pytest.mark.parametrize(
    "problem", [Panic("no template"), MemoryError(), KeyError("dtype"), OSError(5, "Input/output error")]
)
def test_whatever_a_library_raises_names_the_file(problem):
    with (
        pytest.raises(DataError, match=r"^a/b\.model is damaged \(.+\); copy it again$"),
        explained("a/b.model", DataError),
    ):
        raise problem


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), SystemExit(2), HubError("ours")])
def test_signals_and_our_own_errors_pass(problem):
    with pytest.raises(type(problem)), explained("a/b.model", DataError):
        raise problem
