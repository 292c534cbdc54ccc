"""Tagging schemes: spans survive every scheme, the scheme is found from the data, and parts are brought into that of the task."""

import random
from dataclasses import replace

import pytest

from data.errors import DataError
from data.tasks import tag_schemes as schemes
from data.tasks.choices import Tagging
from data.tasks.config import TaskData
from data.tasks.held_out import open_scored
from data.tasks.opened import open_task
from data.tasks.sources import parse_task_source
from data.tasks.tag_schemes import GRAMMARS, NAMES, Spelling, Tag
from data.tokenizers import Bytes, open_tokenizer

BYTES = open_tokenizer(Bytes())
SPELLINGS = {
    "B-PER": Spelling("letter first"),
    "b_PER": Spelling("letter first", "_", lower=True, outside="o"),
    "PER-B": Spelling("letter last"),
    "PER/B": Spelling("letter last", "/"),
    "B": Spelling("letter only"),
}


def random_spans(seed, *, words=9, kinds="XY", apart=False):
    rng, found, place = random.Random(seed), [], 0
    while place < words:
        if rng.random() < 0.4:
            place += 1
            continue
        stop = min(words, place + rng.randint(1, 3))
        found.append((rng.choice(kinds), place, stop))
        place = stop + apart
    return found


def corpus(name, *, texts=40, spelling=SPELLINGS["B-PER"], seed=0):
    """Texts whose tags are well formed in a scheme, as lists of words and tags."""
    grammar, letters = NAMES[name]
    kinds = "X" if spelling.form == "letter only" else "XY"
    made = []
    for number in range(texts):
        spans = random_spans(f"{seed} {number}", apart=grammar == "IO", kinds=kinds)
        tags = schemes.tags_of(spans, 9, grammar)
        made.append([spelling.write(tag, letters) for tag in tags])
    return made


def conll(path, texts):
    path.write_text("\n\n".join("\n".join(f"w{i} {tag}" for i, tag in enumerate(tags)) for tags in texts) + "\n")
    return path


def opened(train, valid, task=Tagging()):
    said: list[str] = []
    return open_task(TaskData(task, parse_task_source(f"files:{train}|{valid}")), BYTES, said.append), said


def spans_in(part, task):
    """The spans of a part, by the scheme that the task has now."""
    spelling = schemes.spelling_of(task.labels)
    read = [[spelling.read(tag) for tag in example["tags"]] for example in part.examples]
    return [schemes.spans_of(tags, NAMES[task.scheme][0]) for tags in read]


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_spans_survive_every_scheme(grammar):
    for seed in range(300):
        spans = random_spans(seed, apart=grammar == "IO")
        tags = schemes.tags_of(spans, 9, grammar)
        assert schemes.spans_of(tags, grammar) == schemes.every_span(tags, grammar) == spans


@pytest.mark.parametrize("name", ["IOB2", "IOE2", "IOBES", "BILOU"])
def test_what_is_well_formed_is_what_seqeval_finds(name):
    """Any tags, well formed or not; its IOB1 and IOE1 are left out, which miss ends that their own rules have."""
    from seqeval import scheme

    rng, (grammar, letters) = random.Random(0), NAMES[name]
    for _ in range(300):
        tags = [Tag(rng.choice("O" + GRAMMARS[grammar].letters), rng.choice("XY")) for _ in range(6)]
        written = [Spelling("letter first").write(tag, letters) for tag in tags]
        theirs = scheme.Tokens(written, getattr(scheme, name)).entities
        assert schemes.spans_of(tags, grammar) == [(entity.tag, entity.start, entity.end) for entity in theirs]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("BIO", "BIOES")])
def test_the_scheme_is_found_in_the_data(name, tmp_path):
    path = conll(tmp_path / "a.conll", corpus(name))
    found, said = opened(path, path)
    assert found.task.scheme == name and f"tags are read as {name};" in said[0]
    expected = [random_spans(f"0 {n}", apart=name == "IO") for n in range(40)]
    assert spans_in(found.valid, found.task) == expected
    assert [e["tags"] for e in found.train.examples] == corpus(name)  # as they were


@pytest.mark.parametrize("form", SPELLINGS)
def test_however_tags_are_spelt(form, tmp_path):
    for name in ("IOB1", "IOB2", "IOBES"):
        path = conll(tmp_path / f"{name}.conll", corpus(name, spelling=SPELLINGS[form]))
        found, said = opened(path, path)
        assert found.task.scheme == name, said
        assert not any("fit" in line or "rewritten" in line for line in said)


def test_types_without_letters_are_spans_beside_an_o(tmp_path):
    path = conll(tmp_path / "a.conll", [["O", "art-film", "art-film", "person"], ["person", "O"]])
    found, said = opened(path, path)
    assert found.task.scheme == "IO" and "types without letters" in said[0]
    assert spans_in(found.valid, found.task)[0] == [("art-film", 1, 3), ("person", 3, 4)]
    path = conll(tmp_path / "b.conll", [["O", "B-cell", "T-cell"], ["B-cell", "O"]])
    assert opened(path, path, Tagging(scheme="IO"))[0].task.labels == ("B-cell", "O", "T-cell")


def test_a_part_in_another_scheme_is_rewritten_and_that_is_said(tmp_path):
    train, valid = (conll(tmp_path / f"{name}.conll", corpus(name)) for name in ("IOB1", "IOBES"))
    found, said = opened(train, valid)
    assert found.task.scheme == "IOB1"
    assert any(f"{valid} is in the scheme IOBES, and is rewritten to IOB1" in line for line in said)
    assert spans_in(found.train, found.task) == spans_in(found.valid, found.task)
    named, said = opened(train, valid, Tagging(scheme="BIO"))
    assert named.task.scheme == "BIO" and sum("rewritten to BIO" in line for line in said) == 2
    assert spans_in(named.valid, named.task) == spans_in(named.train, named.task) == spans_in(found.valid, found.task)


@pytest.mark.parametrize("name", ["IOB1", "BILOU", "IOE2", "IO"])
def test_labels_that_are_given_decide_the_scheme(name, tmp_path):
    """As a published head has them, in another scheme and other letters than the file."""
    path = conll(tmp_path / "a.conll", corpus(name, texts=20))
    labels = ("O", "B_x", "I_x", "E_x", "S_x", "B_y", "I_y", "E_y", "S_y")
    said: list[str] = []
    data = TaskData(Tagging(labels=labels), parse_task_source(f"files:{path}"))
    held_out = open_scored(data, BYTES, said.append)
    assert held_out.task.scheme == "IOBES" and held_out.labels == labels
    spans = [[(kind.lower(), *rest) for kind, *rest in random_spans(f"0 {n}", apart=name == "IO")] for n in range(20)]
    assert spans_in(held_out, held_out.task) == spans
    iob = TaskData(Tagging(labels=("O", "B-X", "I-X", "B-Y", "I-Y")), parse_task_source(f"files:{path}"))
    assert open_scored(iob, BYTES, said.append).task.scheme == ("IOB1" if name == "IOB1" else "IOB2")


def test_what_is_malformed_is_counted_and_what_is_mixed_refused(tmp_path):
    good = corpus("IOB2")
    train = conll(tmp_path / "a.conll", [*good, ["O", "I-X", "I-X"]])
    found, said = opened(train, train)
    assert found.task.scheme == "IOB2"
    line = 1 + sum(len(tags) + 1 for tags in good) + 1
    assert any("2 of" in s and f"do not fit IOB2 (the first: {train} line {line}, I-X)" in s for s in said)
    mixed = conll(tmp_path / "b.conll", [*good, *corpus("IOB1", seed=1)])
    with pytest.raises(DataError, match=r"mixes schemes: .*--data.task.scheme IOB") as caught:
        opened(mixed, mixed)
    remedy = str(caught.value).split()[-1]
    assert opened(mixed, mixed, Tagging(scheme=remedy))[0].task.scheme == remedy


@pytest.mark.parametrize("name", ["IOB1", "IOB2", "BILOU", "IOE1"])
def test_any_scheme_is_rewritten_to_io_where_it_is_named(name, tmp_path):
    """And so is one whose tags are not well formed, since IO has no letter but I."""
    path = conll(tmp_path / "a.conll", corpus(name, texts=20))
    found, said = opened(path, path, Tagging(scheme="IO"))
    assert set(found.task.labels) == {"O", "I-X", "I-Y"} and any("is rewritten to IO; spans" in line for line in said)
    places = [[tag == "O" for tag in tags] for tags in corpus(name, texts=20)]
    assert [[tag == "O" for tag in e["tags"]] for e in found.train.examples] == places
    odd = conll(tmp_path / "b.conll", [["I-X", "B-X", "O", "I-Y", "B-Y"], ["I-X", "I-Y"]])
    task = Tagging(labels=("O", "I-X", "I-Y"), scheme="IO")
    assert opened(odd, path, task)[0].train.examples[0]["tags"] == ["I-X", "I-X", "O", "I-Y", "I-Y"]


def test_a_letter_that_a_scheme_does_not_have_is_refused_before_training(tmp_path):
    train = conll(tmp_path / "a.conll", [["B-X", "E-X", "B-X", "I-X", "I-X"]])
    with pytest.raises(DataError, match=r"a.conll line 2 has the tag E-X, whose letter the scheme BIO does not have"):
        opened(train, train, Tagging(scheme="BIO"))


@pytest.mark.parametrize("scheme", ["auto", "IO", "BIO"])
@pytest.mark.parametrize("odd", ["PER", "0", "\u041e"])
def test_a_tag_without_a_letter_is_told_with_its_place(odd, scheme, tmp_path):
    good = conll(tmp_path / "a.conll", [["B-X", "I-X", "O"]])
    bad = conll(tmp_path / "b.conll", [["O"], ["B-X", "I-X", odd]])
    given = ("O", "I-X") if scheme == "IO" else ("O", "B-X", "I-X")
    for labels in (None, given):
        with pytest.raises(DataError, match=rf"b.conll line 5.* the tag {odd}") as caught:
            opened(good, bad, Tagging(labels=labels, scheme=scheme))
        assert "scheme IO" not in str(caught.value) and ("the letter O" in str(caught.value)) == (odd != "PER"), caught


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["NN", "VB"], "spell no spans, which f1_strict scores"),
        (["0", "1"], "tags are numbers"),
        (["B-X", "I-X", "X"], "the tag X has no letter of a scheme"),
    ],
)
def test_tags_that_are_no_spans(tags, told, tmp_path):
    path = conll(tmp_path / "a.conll", [tags])
    with pytest.raises(DataError, match=told):
        opened(path, path)
    assert opened(path, path, Tagging(scheme=None, metrics=("accuracy",)))[0].task.scheme is None


def test_numbers_are_read_by_the_names_that_are_given(tmp_path):
    path = conll(tmp_path / "a.conll", [["2", "1", "0", "2"], ["2", "0"]])
    found, said = opened(path, path, Tagging(labels=("O", "B-X", "I-X")))
    assert found.train.examples[0]["tags"] == ["I-X", "B-X", "O", "I-X"] and found.task.scheme == "IOB1"
    assert "labels that are numbers are read as places from 0: 0 is O, 1 is B-X, 2 is I-X" in said


def test_numbered_tags_are_never_shifted(tmp_path):
    task = Tagging(labels=("O", "B-X", "I-X", "B-Y"))
    path = conll(tmp_path / "a.conll", [["1", "2", "3"]])
    with pytest.raises(
        DataError, match=r"'O', counted from 1: .*--data.task.spelt 0,1,2,3 or --data.task.spelt 1,2,3,4"
    ):
        opened(path, path, task)
    from_1, from_0 = (replace(task, spelt=tuple(words)) for words in ("1234", "0123"))
    assert opened(path, path, from_1)[0].train.examples[0]["tags"] == ["O", "B-X", "I-X"]
    assert opened(path, path, from_0)[0].train.examples[0]["tags"] == ["B-X", "I-X", "B-Y"]
    path = conll(tmp_path / "b.conll", [["1", "2", "3", "4"]])
    with pytest.raises(
        DataError, match=r"line 4 has the label '4': .*; if these count from 1, say --data.task.spelt 1,2,3,4"
    ):
        opened(path, path, task)
    assert opened(path, path, from_1)[0].train.examples[0]["tags"] == ["O", "B-X", "I-X", "B-Y"]
    path = conll(tmp_path / "c.conll", [["2", "7"]])
    with pytest.raises(DataError, match=r"line 2 has the label '7'"):
        opened(path, path, Tagging(labels=("1", "2"), scheme=None, metrics=("accuracy",)))


def test_tags_in_words_of_the_user(tmp_path):
    path = conll(tmp_path / "a.conll", [["B-Person", "I-Person", "O"]])
    task = Tagging(labels=("O", "B-PER", "I-PER"), spelt=("O", "B-person", "I-person"))
    assert opened(path, path, task)[0].train.examples[0]["tags"] == ["B-PER", "I-PER", "O"]


def test_what_nobody_sees_makes_no_tag_of_its_own(tmp_path):
    path = conll(tmp_path / "a.conll", [["B-X", "I-\u200bX", "O\u200b"], ["\ufeffO", "B-X\u200d"]])
    assert [e["tags"] for e in opened(path, path)[0].train.examples] == [["B-X", "I-X", "O"], ["O", "B-X"]]


@pytest.mark.parametrize("mark", [" ", "\t"])
@pytest.mark.parametrize("comment", ["# id 5", "# text = a b", "#begin document (a)"])
def test_comments_before_a_sentence_are_no_words(comment, mark, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(
        f"{comment}\na B-X\n# O\n\n{comment}\n# O\nb B-X\n".replace(" B", f"{mark}B").replace("# O", f"#{mark}O")
    )
    part = opened(path, path)[0].train
    assert [e["words"] for e in part.examples] == [["a", "#"], ["#", "b"]]
    assert [e.place for e in part.examples] == [f"{path} line 2", f"{path} line 6"]
    path.write_text("# newdoc\na B-X\n# O\nb O\n")
    with pytest.raises(DataError, match=r"a.conll line 1 .*may be a comment.*; remove that line"):
        opened(path, path)
    path.write_text("#\tnewdoc\na B-X\n# O\nb O\n")
    assert opened(path, path, Tagging(scheme=None, metrics=("accuracy",)))[0].train.examples[0]["tags"][0] == "newdoc"
