"""The cache folder: whole or not there, the same wherever it is made, its held-out split chosen by content."""

import contextlib
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data import checksums
from data.building import build
from data.cache import built_whole, identity, remove_under_way, set_aside
from data.config import TextData
from data.corpus import open_corpora
from data.documents import RECORD_TOKENS, Piece
from data.errors import DataError, NotPrepared
from data.held_out import HELD_OUT, held_out_from_source, open_held_out, write_held_out
from data.passages import Passages
from data.prepared import open_prepared, prepare
from data.sentence_pairs import SentencePairs
from data.sentences import encode_documents
from data.sources import Files, Mixture, Synthetic
from data.tokenizers import Bytes, Characters, SentencePiece, WordPiece

ROOT = Path(__file__).parents[2]


def texts_of(prepared) -> list[str]:
    return [prepared.tokenizer.decode(prepared.train.ids(i)) for i in range(len(prepared.train))]


def test_the_same_source_gives_the_same_data_in_another_cache(toy, prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path))
    other = prepare(toy)
    assert other.fingerprint == prepared.fingerprint
    assert other.tokenizer.fingerprint == prepared.tokenizer.fingerprint
    names = {p.relative_to(prepared.folder) for p in prepared.folder.rglob("*") if p.is_file()}
    for name in names - {Path("meta.json")}:
        if name.suffix != ".array_record":  # those hold the same records; the library stamps its files
            assert (other.folder / name).read_bytes() == (prepared.folder / name).read_bytes(), name
    assert texts_of(other) == texts_of(prepared)


def test_opening_again_builds_nothing(toy, prepared):
    heard: list[str] = []
    again = open_prepared(toy, say=heard.append)
    assert again.folder == prepared.folder
    assert heard == []


def test_documents_are_the_tokenised_texts(toy, prepared):
    texts = list(open_corpora(toy.source)[0].texts())
    held = set(prepared.valid_texts())
    expected = encode_documents([text for text in texts if text not in held], prepared.tokenizer)
    assert len(expected) == len(prepared.train)
    for number, document in enumerate(expected):
        assert np.array_equal(prepared.train.ids(number), document.ids)
        assert np.array_equal(prepared.train.sentence_ends(number), document.ends)
    lengths = prepared.train.lengths(np.arange(len(expected)))
    assert lengths.tolist() == [len(document.ids) for document in expected]
    assert prepared.train.tokens == lengths.sum()
    counts = np.bincount(np.concatenate([d.ids for d in expected]), minlength=prepared.tokenizer.vocab_size)
    assert np.array_equal(prepared.unigram_counts, counts)


def test_the_parts_are_disjoint_and_whole(toy, prepared):
    described = prepared.describe(toy, SentencePairs())
    assert described["train"]["documents"] + described["valid"]["documents"] == 120
    assert described["valid"]["documents"] == 6  # a twentieth
    assert described["valid"]["bytes"] == sum(len(text.encode()) for text in prepared.valid_texts())
    assert 0.8 < described["packing_density"] <= 1.0
    assert described["fingerprint"] == prepared.fingerprint


def test_pieces_of_long_documents_cross_records(tmp_path):
    words = " ".join(f"w{i % 97}" for i in range(3_000))
    (tmp_path / "a.txt").write_text("\n\n".join([words + f" {i}" for i in range(4)]))
    data = TextData(Files(str(tmp_path / "a.txt")), Bytes(), row_length=64)
    documents = open_prepared(data).train
    whole = documents.ids(0)
    assert len(whole) > 2 * RECORD_TOKENS
    pieces = [
        Piece(0, start, stop) for start, stop in [(0, 5), (4_090, 4_100), (4_096, 4_097), (5, 9_000), (8_191, 8_193)]
    ]
    for piece, ids in zip(pieces, documents.read(pieces), strict=True):
        assert np.array_equal(ids, whole[piece.start : piece.stop])


def test_the_held_out_split_follows_the_text_not_its_place(tmp_path):
    texts = [f"Document {i} says something. It is about the number {i * i}." for i in range(200)]

    def split(order, name):
        (tmp_path / name).write_text("\n\n".join(texts[i] for i in order))
        data = TextData(Files(str(tmp_path / name)), Bytes(), row_length=32, valid_fraction=0.1)
        return set(open_prepared(data).valid_texts())

    one = split(range(200), "a.txt")
    assert len(one) == 20
    assert split(reversed(range(200)), "b.txt") == one
    fewer = split(range(190), "c.txt")
    assert len(fewer - one) <= 10  # ten documents less: the others keep their side but for the last few
    tail = {text for text in texts[180:]}
    assert len(one & tail) < 10


def test_tails_are_the_last_characters_of_each_document(tmp_path):
    texts = ["0123456789" * 7 + "\n", "ab\ncdé", "x"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    source = Files(str(tmp_path / "*.txt"), blank_lines=False)
    data = TextData(source, Characters(), row_length=16, valid_split="tail", valid_fraction=0.1)
    prepared = open_prepared(data)
    cuts = [int(len(text) * 0.9) for text in texts]  # as nanoGPT rounds
    assert texts_of(prepared) == [text[:cut] for text, cut in zip(texts, cuts, strict=True) if cut]
    assert prepared.valid_texts() == [text[cut:] for text, cut in zip(texts, cuts, strict=True)]
    assert [prepared.tokenizer.decode(prepared.valid.ids(i)) for i in range(2)] == [texts[0][63:], "[UNK]"]
    assert "é" not in prepared.tokenizer.pieces  # which is never trained on, not even by the tokenizer
    other = open_prepared(TextData(source, Characters(), row_length=16, valid_split="tail", valid_fraction=0.2))
    assert other.fingerprint != prepared.fingerprint


def test_shakespeare_is_split_as_in_nanogpt(published):
    path = published("tinyshakespeare/input.txt")
    data = TextData(
        Files(str(path), blank_lines=False),
        Characters(specials=False),
        row_length=64,
        valid_split="tail",
        valid_fraction=0.1,
    )
    prepared = open_prepared(data)
    assert (len(prepared.train), prepared.train.tokens, prepared.valid.tokens) == (1, 1_003_854, 111_540)
    assert prepared.tokenizer.vocab_size == 65
    text = path.read_text(encoding="utf-8")
    assert prepared.tokenizer.decode(prepared.train.ids(0)) + prepared.valid_texts()[0] == text


def test_a_mixture_holds_out_of_each_source(tmp_path):
    data = TextData(Mixture(("synthetic:100", "synthetic:60"), (1.0, 1.0)), WordPiece(300), row_length=32)
    prepared = open_prepared(data)
    assert [part.documents for part in prepared.train.parts] == [95, 57]
    assert [part.documents for part in prepared.valid.parts] == [5, 3]
    capped = open_prepared(TextData(data.source, data.tokenizer, row_length=32, valid_documents=4))
    assert sum(part.documents for part in capped.valid.parts) <= 5


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def build():
        with built_whole(tmp_path / "x") as folder:
            (folder / "half.txt").write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        build()
    assert list(tmp_path.iterdir()) == []


def test_what_gets_its_name_while_it_is_removed_is_whole_or_gone(tmp_path, monkeypatch):
    """The other thread renames it at the worst moment: when its first file is about to be removed."""
    remove, made = os.unlink, tmp_path / "made"

    def late(name, **given):
        with contextlib.suppress(FileNotFoundError):
            building.rename(made)
        remove(name, **given)

    with monkeypatch.context() as patched, built_whole(made) as building:
        for name in "abc":
            (building / name).touch()
        patched.setattr("os.unlink", late)
        remove_under_way()
        assert not list(tmp_path.iterdir())
        patched.undo()
        building.mkdir()
    assert not list(made.iterdir())


def test_of_two_builders_the_first_wins(tmp_path):
    with built_whole(tmp_path / "x") as one:
        (one / "who.txt").write_text("one")
        with built_whole(tmp_path / "x") as two:
            (two / "who.txt").write_text("two")
    assert (tmp_path / "x" / "who.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot prepare data in .*set LOUPE_CACHE"):
        open_prepared(TextData(Synthetic(20), Bytes(), row_length=16))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path))
    monkeypatch.setattr("data.records.DocumentWriter.append", full)
    with pytest.raises(DataError, match=r"no space left in .*free some"):
        open_prepared(TextData(Synthetic(20), Bytes(), row_length=16))


KILLED = """
import os, signal, data.records
from data.config import TextData
from data.prepared import prepare
from data.sources import Synthetic
from data.tokenizers import Bytes
append, count = data.records.DocumentWriter.append, 0
def fatal(self, document):
    global count
    count += 1
    append(self, document)
    if count == 30:
        print("dying", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
data.records.DocumentWriter.append = fatal
prepare(TextData(Synthetic(60), Bytes(), row_length=16), say=lambda line: None)
"""


def test_a_killed_preparer_leaves_nothing_that_is_trusted(tmp_path, monkeypatch):
    environment = os.environ | {"LOUPE_CACHE": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    assert "dying" in killed.stdout
    (left,) = (tmp_path / "prepared").iterdir()
    assert left.name.startswith(".building-")
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path))
    assert len(open_prepared(TextData(Synthetic(60), Bytes(), row_length=16)).train) == 57
    assert left.exists()  # it may be at work still, for all we know, until a day has gone by
    os.utime(left, (0, 0))
    open_prepared(TextData(Synthetic(61), Bytes(), row_length=16))
    assert not left.exists()


def damage(path: Path, how: str, place: int | None = None) -> None:
    """Cut a file, or flip one bit of it and leave its size and its time of change as they were."""
    content, status = bytearray(path.read_bytes()), path.stat()
    if how == "cut":
        path.write_bytes(content[:-7])
        return
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_damaged_folder_is_built_again_and_that_is_said(how, tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path))
    data = TextData(Synthetic(40), Bytes(), row_length=16)
    folder = open_prepared(data).folder
    before = open_prepared(data)
    read = before.fingerprint, before.valid_texts(), before.train.ids(3).tolist()
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert {"tokens-00000.array_record", "meta.json", "held_out.npy"} <= set(map(str, names))
    for name in names:
        damage(folder / name, how)
        heard: list[str] = []
        again = open_prepared(data, say=heard.append)
        assert (again.fingerprint, again.valid_texts(), again.train.ids(3).tolist()) == read, name
        assert name.name in heard[0] or "cannot be read" in heard[0], heard
        assert "it is made again, and then removed" in heard[0]
        assert open_prepared(data, say=heard.append).folder == folder and len(heard) < 7


def test_a_folder_of_an_earlier_version_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path))
    data = TextData(Synthetic(40), Bytes(), row_length=16)
    folder = open_prepared(data).folder
    meta = json.loads((folder / "meta.json").read_text())
    for name in ("checksums", "meta_checksum"):
        del meta[name]
    (folder / "meta.json").write_text(json.dumps(meta))
    heard: list[str] = []
    assert open_prepared(data, say=heard.append).fingerprint == meta["fingerprint"]
    assert "without checksums" in heard[0]


def test_large_files_are_read_whole_once_they_changed_and_else_by_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "BLOCK", 16)
    monkeypatch.setattr(checksums, "WHOLE", 100)
    (tmp_path / "small").write_bytes(b"s" * 40)
    (tmp_path / "large").write_bytes(os.urandom(10_000))
    sizes, stored = {"small": 40, "large": 10_000}, checksums.checksums(tmp_path)
    checksums.note_verified(tmp_path, sizes)
    read: list[int] = []
    blocks = checksums._blocks
    monkeypatch.setattr(checksums, "_blocks", lambda path, numbers: read.append(len(numbers)) or blocks(path, numbers))
    assert checksums.damaged(tmp_path, sizes, stored) == "" and sorted(read) == [3, checksums.SAMPLED]
    read.clear()
    os.utime(tmp_path / "large")  # copied, perhaps: read whole once, and then by samples again
    assert checksums.damaged(tmp_path, sizes, stored) == checksums.damaged(tmp_path, sizes, stored) == ""
    assert read == [3, 625, 3, checksums.SAMPLED]
    damage(tmp_path / "large", "flip", 7_777)
    assert checksums.damaged(tmp_path, sizes, stored) == "large"
    (tmp_path / checksums.VERIFIED).write_text("[")
    assert checksums.damaged(tmp_path, sizes, stored) == "large"


def test_a_folder_that_took_the_place_of_a_judged_one_stays(tmp_path):
    """Also one that was given the inode of the judged one, once that was gone."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "meta.json").write_text("{}")
    judged = identity(folder)
    assert judged is not None and identity(folder) == judged
    (folder / "meta.json").unlink()
    (folder / "meta.json").write_text("{}")  # another folder of the same inode, as far as anybody can tell
    assert not set_aside(folder, judged) and (folder / "meta.json").is_file()
    with built_whole(folder, judged) as building:
        (building / "late").touch()
    assert [path.name for path in folder.iterdir()] == ["meta.json"]
    with built_whole(folder, identity(folder)) as building:
        (building / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"] and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "bare").mkdir()
    assert set_aside(tmp_path / "bare", identity(tmp_path / "bare")) and not (tmp_path / "bare").exists()


@pytest.mark.parametrize("before", ["damaged", "of an earlier version"])
def test_what_took_long_is_not_removed_before_it_is_made_again(before, tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path))
    data = TextData(Synthetic(40), Bytes(), row_length=16)
    folder = open_prepared(data).folder
    if before == "damaged":
        damage(folder / "lengths.npy", "flip")
    else:
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps({k: v for k, v in meta.items() if "checksum" not in k}))
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    large = replace(open_corpora(data.source)[0], large=True)
    heard: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr("data.prepared.open_corpora", lambda source: [large])
        with pytest.raises(NotPrepared, match=f"must be tokenised again, since {folder} is not used: .*; run: "):
            open_prepared(data, say=heard.append)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files and heard == []
    with monkeypatch.context() as patched:
        patched.setattr("data.prepared.build", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(data, say=heard.append)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    assert "it is made again, and then removed" in heard[0]
    assert prepare(data, say=heard.append).folder == folder and open_prepared(data).folder == folder


def test_text_that_changes_while_it_is_read_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LOUPE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.txt"
    path.write_text("One text.\n\nAnother text.\n\nA third.\n" * 20)

    def changed(*arguments):
        path.write_text(path.read_text().replace("third", "fourth"))
        return build(*arguments)

    monkeypatch.setattr("data.prepared.build", changed)
    with pytest.raises(DataError, match="changed while it was read"):
        open_prepared(TextData(Files(str(path)), Bytes(), row_length=16))
    assert not list((tmp_path / "cache" / "prepared").iterdir())


def test_the_held_out_file_is_deterministic_and_enough(prepared, tmp_path):
    one, two = write_held_out(prepared, tmp_path / "run"), write_held_out(prepared, tmp_path / "other")
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes()[4:8] == b"\0\0\0\0"  # no date in it
    prepared.tokenizer.save(tmp_path / "run" / "tokenizer")
    documents = open_held_out(tmp_path / "run", prepared.tokenizer)
    assert len(documents) == len(prepared.valid)
    assert all(np.array_equal(documents.ids(i), prepared.valid.ids(i)) for i in range(len(documents)))
    assert (documents.tokens, documents.bytes) == (prepared.valid.tokens, prepared.valid.bytes)
    one.write_bytes(one.read_bytes()[:40])
    with pytest.raises(DataError, match="is damaged"):
        open_held_out(tmp_path / "run", prepared.tokenizer)
    with pytest.raises(DataError, match=f"there is no {HELD_OUT}"):
        open_held_out(tmp_path / "nowhere", prepared.tokenizer)


def test_ones_own_text_is_held_out_whole(prepared, tmp_path):
    (tmp_path / "mine.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "My text. Mine."}).encode()))
    documents = held_out_from_source(Files(str(tmp_path / "mine.jsonl.gz")), prepared.tokenizer)
    assert len(documents) == 1
    assert np.array_equal(documents.ids(0), prepared.tokenizer.encode("My text. Mine."))


def test_large_sources_ask_to_be_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr("data.corpus.LARGE_BYTES", 100)
    (tmp_path / "a.txt").write_text("A document. Of words.\n\n" * 30)
    data = TextData(Files(str(tmp_path / "a.txt")), Bytes(), row_length=16)
    with pytest.raises(
        NotPrepared, match=re.escape(f"python -m train.prepare --exp=NAME --data.source files:{tmp_path}")
    ):
        open_prepared(data)
    prepare(data)
    assert open_prepared(data).train.tokens > 100


@pytest.mark.parametrize(
    ("content", "tokenizer", "told"),
    [
        ("one document only", Bytes(), "has 1 document, too few"),
        ("two\n\ndocuments", WordPiece(64), "do not fill one row of 512; use a smaller --data.row_length"),
        ("two. sentences.\n\ndocuments", SentencePiece(4_000), "is more than this text supports"),
    ],
)
def test_sources_too_small_are_told(tmp_path, content, tokenizer, told):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        open_prepared(TextData(Files(str(tmp_path / "a.txt")), tokenizer, row_length=512))
    assert "\n" not in str(caught.value)


def test_describe_names_nothing_of_this_machine(prepared):
    assert str(prepared.folder) not in json.dumps(prepared.describe())
    assert prepared.describe(TextData(row_length=64), Passages())["packing_density"] > 0.8
