"""Local files: what counts as a document, and one clear line for each thing that is wrong with a file."""

import gzip
import json
import re

import pytest

from data.corpus import open_corpora
from data.errors import DataError
from data.sources import Files


def read(pattern, **options) -> list[str]:
    return [text for corpus in open_corpora(Files(str(pattern), **options)) for text in corpus.texts()]


def test_blank_lines_end_a_document(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf\r\none\r\nstill one\r\n \t\r\n\r\ntwo\r\n")
    assert read(path) == ["one\nstill one", "two"]


def test_a_whole_file_is_kept_to_the_character(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf\r\none\n \t\n\n\n two\x0b\n\n")
    assert read(path, blank_lines=False) == ["\r\none\n \t\n\n\n two\x0b\n\n"]
    path.write_bytes(b"\n \n")
    with pytest.raises(DataError, match="holds no text"):
        read(path, blank_lines=False)


def test_jsonl_has_a_document_a_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\\n\\nstill one"}\n\n{"text": "\\ud800 lone"}\n{"text": "  "}\n', encoding="utf-8")
    assert read(path) == ["one\n\nstill one", "? lone"]
    path.write_text(json.dumps({"body": "世界"}), encoding="utf-8")
    assert read(path, field="body") == ["世界"]


def test_globs_and_gzip_in_the_order_of_their_names(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one"))
    (tmp_path / "deep" / "er" / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "three"}'))
    assert read(tmp_path / "*.txt*") == ["one", "two"]
    assert read(tmp_path / "**" / "*.*") == ["one", "two", "three"]


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    def fingerprint(pattern, **options):
        return open_corpora(Files(str(pattern), **options))[0].fingerprint

    (tmp_path / "a.txt").write_text("one\n\ntwo")
    (tmp_path / "b.txt").write_text("one\n\ntwo")
    assert fingerprint(tmp_path / "a.txt") == fingerprint(tmp_path / "b.txt")
    assert fingerprint(tmp_path / "a.txt") != fingerprint(tmp_path / "a.txt", blank_lines=False)
    before = fingerprint(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("one\n\ntwx")
    assert fingerprint(tmp_path / "a.txt") != before


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"", "holds no text"),
        ("a.txt", b" \n\n\t\n", "holds no text"),
        ("a.txt", b"fine\ncaf\xe9\n", "not UTF-8 at byte 8 (line 2)"),
        ("a.txt.gz", b"plain", "not a whole gzip file"),
        ("a.txt.gz", gzip.compress(b"some text " * 999, mtime=0)[:-30], "not a whole gzip file"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "line 2 has no text in the field 'text' (it has body)"),
        ("a.jsonl", b'{"text": 3}\n', "line 1 has no text in the field 'text'"),
        ("a.jsonl", b'{"text": 3}\n', "but a number; write a text there"),
        ("a.jsonl", b'{"text": null}\n', "but null; write a text there, or remove that line"),
        ("a.jsonl", b"{}\n", "(it has no field)"),
        ("a.jsonl", b'["a"]\n', "it is not an object but a list; write one object a line"),
        ("a.jsonl", b'{"text": "a"\n', "line 1 is not JSON"),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read(tmp_path / "absent.txt")
    (tmp_path / "c#1.txt").write_text("whole")
    with pytest.raises(DataError, match=r"c#1.txt write \? in its place") as caught:
        read(tmp_path / "c")
    assert read(str(caught.value).rsplit(" ", 1)[1]) == ["whole"]
    with pytest.raises(DataError, match="no file matches"):
        read(tmp_path / "*.absent")
    with pytest.raises(DataError, match=re.escape(f"'files:{tmp_path}/*.txt'")):
        read(tmp_path)
