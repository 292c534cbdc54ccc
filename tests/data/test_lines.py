"""Lines of files: what ends one, what a file is in, and numbers and depths of JSON that nobody reads."""

import gzip
import json
import os
import random
import re
import subprocess
import tracemalloc

import pytest

from data.corpus import files, open_corpora
from data.corpus import lines as corpus_lines
from data.corpus.lines import lines, parse_json
from data.errors import DataError
from data.held_out import HELD_OUT, read_texts, write_texts
from data.sources import Files
from data.tasks.tables import read_table
from data.tasks.word_columns import tagged_sentences

ROWS = ["label\ttext", "1\tgood", "0\tschlecht, große Enttäuschung", "1\t好"]


@pytest.fixture
def write(tmp_path):
    def writing(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writing


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gz"])
def test_lines_are_the_same_however_they_are_written(end, encoding, write):
    text = end.join(ROWS) + end
    path = (
        write("a.tsv.gz", gzip.compress(text.encode())) if encoding == "gz" else write("a.tsv", text.encode(encoding))
    )
    assert list(lines(path)) == list(enumerate(ROWS, start=1))
    assert "".join(line for _, line in lines(path, ends=True)) == text
    assert [record.columns["label"] for record in read_table(str(path)).records] == ["1", "0", "1"]
    assert list(lines(write("b.tsv", end.join(ROWS).encode()))) == list(enumerate(ROWS, start=1))  # without an end


def test_carriage_returns_among_line_feeds_are_text(write):
    assert [line for _, line in lines(write("a.txt", "one\rtwo\nthree\n"))] == ["one\rtwo", "three"]
    assert [line for _, line in lines(write("a.txt", "one\r\n"))] == ["one"]
    documents = open_corpora(Files(str(write("b.txt", "one\r\rtwo\rthree\r"))))[0].texts()
    assert list(documents) == ["one", "two\nthree"]


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\u00a0", "\u3000"])
def test_only_line_feeds_end_lines_and_only_spaces_and_tabs_end_columns(letter, write):
    text = json.dumps({"text": f"a{letter}b", "label": 1}, ensure_ascii=False)
    assert read_table(str(write("a.jsonl", text + "\n" + text))).records[1].columns["text"] == f"a{letter}b"
    assert read_table(str(write("a.tsv", f"text\tlabel\na{letter}b\t1\n"))).records[0].columns["text"] == f"a{letter}b"
    assert read_table(str(write("a.csv", f"text,label\na{letter}b,1\n"))).records[0].columns["text"] == f"a{letter}b"
    for mark in (" ", "\t", "  "):
        path = write("a.conll", f"a{letter}b{mark}O\n{letter}{mark}O\n\nc{mark}O\n")
        found = [columns["tokens"] for columns, _ in tagged_sentences(path)]
        assert found == [[f"a{letter}b", letter], ["c"]]


def test_a_word_may_be_a_space_that_does_not_break(write):
    from data.tasks.choices import Tagging
    from data.tasks.examples import examples_of

    table = read_table(str(write("a.conll", "\u00a0 O\n10\u00a0000 B-X\n\n")))
    assert examples_of(Tagging(), table)[0]["words"] == ["\u00a0", "10\u00a0000"]
    table = read_table(str(write("a.tsv", "tokens\ttags\n10\u00a0000 b\tB-X O\n")))
    assert examples_of(Tagging(), table)[0]["words"] == ["10\u00a0000", "b"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("\n".join(ROWS).encode("utf-16-le"), "looks like UTF-16LE; convert it with: iconv -f UTF-16LE -t UTF-8"),
        ("\n".join(ROWS).encode("utf-16-be"), "looks like UTF-16BE"),
        ("\n".join(ROWS).encode("utf-32-le"), "looks like UTF-32LE"),
        ("\n".join(ROWS).encode("utf-32-be"), "looks like UTF-32BE"),
        ("\n".join(ROWS).encode("utf-16")[:-1], "begins as UTF-16 does, and is not"),
        (gzip.compress(b"label\ttext\n", mtime=0), "is no text but gzip; name it with .gz at its end"),
        (b"PK\x03\x04rest", "is no text but a zip archive"),
        (b"PAR1rest", "is no text but Parquet"),
        (bytes(range(256)) + b"\0" * 300, "has bytes that are 0"),
        ("\n".join(ROWS).encode("gb18030", "replace"), "is not UTF-8 at byte"),
    ],
)
def test_what_is_no_utf_8_is_told_with_what_it_is(content, told, write):
    with pytest.raises(DataError, match=re.escape(told)):
        list(lines(write("a.tsv", content)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"text,label\nfo\0o,pos\n", "line 2 has a byte that is 0"),
        (b"text,label\nfo\0o,pos\n" + b"good,pos\n" * 20_000, "line 2 has a byte that is 0"),
        (random.Random(0).randbytes(2_000), "is no text: it holds bytes that no encoding of texts has"),
        ("\u0434\u0430\t\u043d\u0435\n".encode("cp1251") * 9, "is not UTF-8 at byte 0 (line 1)"),
        ("\u0434\u0430 \u043d\u0435\n".encode("utf-16-le") * 9, "looks like UTF-16LE"),
        (b"x" * 5_000 + b"\n", "line 1 has more than 4,096 bytes"),
        (b"a\rb\r" * 2_000, "line 1 has more than 4,096 bytes"),
        (("x" * 5_000).encode("utf-16"), "is UTF-16 of more than 4,096 bytes"),
    ],
)
@pytest.mark.parametrize("name", ["a b's.csv", "a b's.csv.gz"])
def test_the_remedy_of_what_is_no_text_works(name, content, told, write, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_lines, "MOST", 4_096)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        list(lines(write(name, gzip.compress(content, mtime=0) if name.endswith("gz") else content)))
    _, given, command = str(caught.value).partition(" with: ")
    assert given or "name a file" in str(caught.value)
    if given:
        subprocess.run(["sh", "-c", command.replace("1000000", "4000")], check=True, cwd=tmp_path)
        monkeypatch.setattr(corpus_lines, "MOST", 2**20)
        assert list(lines(tmp_path / "new.csv"))


def test_a_line_that_unpacks_to_more_than_memory_is_not_read_whole(write, monkeypatch):
    monkeypatch.setattr(corpus_lines, "MOST", 2**16)
    path = write("a.tsv.gz", gzip.compress(b"x" * 2**24, mtime=0))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a.tsv.gz line 1 has more than 65,536 bytes"):
        read_table(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_a_cell_may_be_a_book(write):
    long = 'said, "' + "x" * 200_000
    path = write("a.csv", 'text,label\n"' + long.replace('"', '""') + '",1\nb,0\n')
    assert [record.columns["text"] for record in read_table(str(path)).records] == [long, "b"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("9" * 5_000, "a number of 5,000 characters"),
        ("[" * 10_000 + "]" * 10_000, "deep in each other"),
        ("[" * 100 + "]" * 100, "more than 100 deep"),
    ],
)
def test_numbers_and_depths_that_nobody_reads_are_one_line(value, told, write):
    good, bad = '{"text": "a", "label": 1}', '{"text": "a", "label": 1, "odd": ' + value + "}"
    for name, content in (("a.jsonl", f"{good}\n{bad}\n"), ("a.json", f"[{good},\n{bad}]")):
        path = write(name, content)
        with pytest.raises(DataError, match=rf"{name} line 2 .*{told}"):
            read_table(str(path))
    with pytest.raises(DataError, match=rf"a.jsonl line 2 .*{told}"):
        list(open_corpora(Files(str(write("a.jsonl", f"{good}\n{bad}\n"))))[0].texts())
    assert parse_json('{"a": ' + "9" * 100 + "}", "here", "")["a"] == int("9" * 100)


def test_every_flipped_byte_of_a_compressed_file_is_one_line_or_harmless(write, tmp_path):
    whole = gzip.compress(b'{"text": "some words"}\n' * 3, mtime=0)
    write_texts(tmp_path, ["one", "two"])
    held_out = (tmp_path / HELD_OUT).read_bytes()
    for place in range(len(whole)):
        path = write("a.jsonl.gz", whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            assert [record.columns["text"] for record in read_table(str(path)).records] == ["some words"] * 3
        except DataError as error:
            assert "gzip" in str(error) and "\n" not in str(error)
    for place in range(len(held_out)):
        (tmp_path / HELD_OUT).write_bytes(held_out[:place] + bytes([held_out[place] ^ 0x41]) + held_out[place + 1 :])
        try:
            assert read_texts(tmp_path) == ["one", "two"]
        except DataError as error:
            assert "is damaged" in str(error) and "\n" not in str(error)


def test_a_changed_file_has_another_fingerprint_whatever_its_time_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "FRESH_SECONDS", -3_600)  # as if it were old: every digest is remembered
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\n")
    before, status = open_corpora(Files(str(path)))[0].fingerprint, path.stat()
    memory = tmp_path / "cache" / "file_digests.json"
    assert str(path) in json.loads(memory.read_text())["files"]
    with path.open("r+") as file:
        file.write("six")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # within the clock's resolution
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = open_corpora(Files(str(path)))[0].fingerprint
    assert after != before
    for damage in ("[", "{}", memory.read_text().replace("a", "b", 1), memory.read_text().replace("0", "1", 1)):
        memory.write_text(damage)
        assert open_corpora(Files(str(path)))[0].fingerprint == after
