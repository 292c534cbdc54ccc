"""Files of every form give the same examples, and whatever is wrong with one is a line with its place and a remedy."""

import gzip
import json
import re
from pathlib import Path

import pytest

from data.errors import DataError
from data.tasks.choices import Answers, Classification, Generation, MultiLabel, MultipleChoice, Regression, Tagging
from data.tasks.config import TaskData
from data.tasks.opened import open_task
from data.tasks.sources import parse_task_source
from data.tokenizers import Bytes, open_tokenizer

PAIR = Classification(text=("#1 String",), second=("#2 String",), label=("Quality",))
ROWS = [("1", 'He said "yes'), ("0", "no, never"), ("1", 'a "b" c'), ("0", "naïve 世界")]


def opened(word, task=Classification(), **fields):
    said: list[str] = []
    found = open_task(TaskData(task, parse_task_source(word), **fields), open_tokenizer(Bytes()), said.append)
    assert list(found.notes) == said
    return found


def fields(part, *names):
    return [tuple(example[name] for name in names) for example in part.examples]


@pytest.fixture
def write(tmp_path):
    def writing(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return writing


def test_every_form_gives_the_same_examples(write):
    table = "".join(f"{label}\t{text}\n" for label, text in ROWS)
    quoted = "".join('{},"{}"\n'.format(label, text.replace('"', '""')) for label, text in ROWS)
    objects = [{"label": int(label), "text": text} for label, text in ROWS]
    words = [
        write("a.tsv", "label\ttext\n" + table),
        write("b.tsv", ("\ufefflabel\ttext\n" + table).replace("\n", "\r\n")),  # a mark at its start, CR LF
        write("c.tsv.gz", gzip.compress(("label\ttext\n" + table).encode())),
        write("d.tsv", table) + "#label,text",
        write("e.tsv", table.replace("\t", "\tx\t")) + "#label,_,text",
        write("f.csv", "label,text\r\n" + quoted.replace("\n", "\r\n")),
        write("g.csv", '"label","text"\n' + quoted),
        write("h.jsonl", "".join(json.dumps(row) + "\n" for row in objects)),
        write("i.json", json.dumps(objects)),
        write("k.json", json.dumps({"data": objects}, indent=1)),
        write("l.jsonl.gz", gzip.compress("".join(json.dumps(row) + "\n" for row in objects).encode())),
        write("m.tsv", "label\ttext\n" + table) + "#label,text",  # columns named although there is a header
    ]
    for word in words:
        path, _, columns = word.partition("#")
        task = opened(f"files:{path}|{path}" + (f"#{columns}" if columns else ""))
        assert fields(task.train, "label", "text") == ROWS, word
        assert fields(task.valid, "label", "text") == ROWS


def test_header_names_may_differ_between_the_parts(write):
    train = write("train.tsv", "label\tsentence\r\n1\tgood\r\n0\tbad\r\n")
    dev = write("dev.tsv", "label\tcontent\n1\tfine\n0\tpoor\n")
    task = opened(f"files:{train}|{dev}")
    assert fields(task.valid, "text") == [("fine",), ("poor",)]
    other = write("sent.tsv", "fine\t1\npoor\t0\n")  # the label last, and no header
    task = opened(f"files:{train}|{other}#label,sentence|sentence,label")
    assert fields(task.valid, "text", "label") == [("fine", "1"), ("poor", "0")]


def test_quotation_marks_of_a_tsv_swallow_nothing(write):
    lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
    for number in range(40):
        mark = '"' if number % 3 == 0 else ""
        lines.append(f"{number % 2}\t{number}\t{number}\t{mark}He left {number}\tHe went {number}{mark}")
    path = write("mrpc.tsv", "\ufeff" + "\r\n".join(lines) + "\r\n")
    task = opened(f"files:{path}|{path}", PAIR)
    assert len(task.train) == 40
    assert task.train.examples[3]["text"] == '"He left 3' and task.train.examples[3].place.endswith("line 5")


def test_a_glob_reads_its_files_in_order(write, tmp_path):
    write("dev_a.tsv", "gj04\t1\t\tThe sailors rode.\n")
    write("dev_b.tsv", "cj99\t0\t*\tSailors the rode.\n")
    task = opened(f"files:{tmp_path}/dev_*.tsv|{tmp_path}/dev_a.tsv#_,label,_,sentence")
    assert fields(task.train, "text") == [("The sailors rode.",), ("Sailors the rode.",)]


def test_word_and_tag_lines(write):
    task = Tagging(prefix="en:")
    one = write("train.txt", "en:R.H.\tB-ORG\nen:Saunders\tI-ORG\nen:(\tO\n\nen:Rome\tB-LOC\n\n\n")
    two = write("b.conll", "-DOCSTART- -X- O\n\nR.H. NNP B-ORG\nSaunders NNP I-ORG\n( -LRB- O\n\nRome NNP B-LOC")
    three = write("c.jsonl", '{"tokens": ["R.H.", "Saunders", "("], "ner_tags": ["B-ORG", "I-ORG", "O"]}\n'
                             '{"tokens": ["Rome"], "ner_tags": ["B-LOC"]}\n')  # fmt: skip
    expected = [(["R.H.", "Saunders", "("], ["B-ORG", "I-ORG", "O"]), (["Rome"], ["B-LOC"])]
    for word in (one, two, three):
        assert fields(opened(f"files:{word}|{word}", task).train, "words", "tags") == expected
    named = opened(f"files:{two}|{two}#tokens,_,tags", task)
    assert fields(named.train, "words", "tags") == expected
    with pytest.raises(DataError, match=r"every word of the file begins with 'en:'.*--data.task.prefix en:"):
        opened(f"files:{one}|{one}", Tagging())


def test_parallel_files(write):
    en, de = write("a.en", "one\r\ntwo\r\n"), write("a.de", "eins\nzwei\n")
    task = opened(f"files:{en}+{de}|{en}+{de}", Generation(metrics=("bleu",)))
    assert fields(task.train, "source", "target") == [("one", "eins"), ("two", "zwei")]


def test_lines_of_a_form(write):
    path = write("a.txt", "IN: jump left OUT: I_TURN_LEFT I_JUMP\nIN: walk OUT: I_WALK\n")
    task = opened(f"files:{path}|{path}#IN: {{source}} OUT: {{target}}", Generation(metrics=("exact_match",)))
    assert fields(task.train, "source", "target") == [("jump left", "I_TURN_LEFT I_JUMP"), ("walk", "I_WALK")]
    path = write("b.txt", "IN: jump left OUT: I_TURN_LEFT\nIN: walk\n")
    with pytest.raises(DataError, match=r"b.txt line 2 is not of the form"):
        opened(f"files:{path}|{path}#IN: {{source}} OUT: {{target}}", Generation())


def test_lines_of_json_under_the_name_of_a_document(write):
    path = write("a.json", '{"label": "0", "text": "a"}\n{"label": "1", "text": "b"}\n')
    assert fields(opened(f"files:{path}|{path}").train, "text", "label") == [("a", "0"), ("b", "1")]


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        ({"choices": ["x", "y"], "label": 1}, MultipleChoice()),
        ({"a": "x", "b": "y", "label": "1"}, MultipleChoice(choices=("a", "b"))),
        ({"choices": {"text": ["x", "y"], "label": ["A", "B"]}, "label": "B"}, MultipleChoice()),
        ({"choices": {"text": ["x", "y"], "label": ["1", "2"]}, "label": "2"}, MultipleChoice()),
        ({"choices": {"text": ["x", "y"], "label": [0, 1]}, "label": 1}, MultipleChoice()),
        ({"choices": ["x", "y"], "label": "2"}, MultipleChoice(spelt=("1", "2"))),
    ],
)
def test_choices_of_every_form(write, columns, task):
    path = write("a.jsonl", json.dumps({"text": "t"} | columns) + "\n")
    assert fields(opened(f"files:{path}|{path}", task).train, "choices", "label") == [(["x", "y"], 1)]


def test_placeholder_labels_are_told(write):
    train = write("a.tsv", "label\ttext\n1\tgood\n0\tbad\n")
    test = write("test.tsv", "label\ttext\n" + "".join(f"0\ttext {n}\n" for n in range(9)))
    task = opened(f"files:{train}|{test}", Classification(labels=("bad", "good")))
    assert any(
        "all 9 held-out examples have the label bad" in note and "test.tsv line 2" in note for note in task.notes
    )


def test_a_class_without_training_examples_is_told_or_refused(write):
    train = write("a.tsv", "label\ttext\nx\tgood\ny\tbad\n")
    dev = write("b.tsv", "label\ttext\nx\tone\nz\ttwo\n")
    with pytest.raises(
        DataError, match=r"b.tsv line 3 has the label 'z', which no training example has .*known are x, y"
    ):
        opened(f"files:{train}|{dev}")
    task = opened(f"files:{train}|{dev}", Classification(labels=("x", "y", "z")))
    assert any(
        "no training example has the label z, which 1 held-out ones have" in n and "line 3" in n for n in task.notes
    )


@pytest.mark.parametrize(
    ("name", "content", "task", "told"),
    [
        ("a.tsv", "label\ttext\n1\tgood\n\tbad\n", Classification(), "a.tsv line 3 has no label"),
        ("a.tsv", "label\ttext\n1\tgood\n2\tbad\n", Classification(labels=("0", "1")), "line 3 has the label '2'"),
        ("a.tsv", "label\ttext\n1\tx\n-1\ty\n", Classification(labels=("no", "yes")), "line 3 has the label -1, which marks"),
        ("a.tsv", "label\ttext\n1\tgood\n0\t \n", Classification(), "a.tsv line 3 has an empty text"),
        ("a.tsv", "label\ttext\n1\tgood\n0\tb\tc\n", Classification(), "line 3 has 3 columns, not 2 (label, text)"),
        ("a.tsv", "label\ttext\n1\tgood\n0\n", Classification(), "line 3 has 1 column, not 2"),
        ("a.tsv", "0\tgood\n1\tbad\n", Classification(), "line 2 has no column sentence or content or text; its columns are 0, "
                                                         "good"),
        ("a.tsv", "x\tx\n1\tbad\n", Classification(), "line 1 names a column twice"),
        ("a.tsv", "label\ttext\n1\tgood\n1\tbad\n", Classification(), "have one label only (1)"),
        ("a.tsv", "label\ttext\n", Classification(), "holds no example"),
        ("a.csv", 'label,text\n1,"good"\n0,"bad\n1,fine\n', Classification(), "line 3 has a quotation mark without its fellow"),
        ("a.csv", 'label,text\n1,"a "b" c"\n', Classification(), "line 2 has a quotation mark without its fellow"),
        ("a.csv", 'label,text\n1,"a\nb"\n0,c,d\n', Classification(), "line 4 has 3 columns"),
        ("a.jsonl", '{"label": 1, "text": "a"}\n{"label": 1}\n', Classification(), "line 2 has no column sentence"),
        ("a.jsonl", '{"label": 1, "text": 5}\n', Classification(), "line 1 has no text as its text but int"),
        ("a.jsonl", '{"label": null, "text": "a"}\n', Classification(), "line 1 has no label"),
        ("a.jsonl", '{"label": 1,\n', Classification(), "line 1 is not JSON"),
        ("a.jsonl", "[1]\n", Classification(), "line 1 is no object"),
        ("a.json", "{\n1}", Classification(), "line 2 is not JSON"),
        ("a.json", '{"a": 1}\n{\n', Classification(), "line 2 is not JSON"),
        ("a.json", '{"x": 1}', Classification(), "neither of SQuAD's form nor a list"),
        ("a.dat", "1", Classification(), "ends in .dat, which says no form"),
        ("a.tsv", b"label\ttext\n1\t\xff\n", Classification(), "is not UTF-8 at byte 13 (line 2)"),
        ("a.tsv.gz", b"no", Classification(), "is not a whole gzip file"),
        ("a.tsv", "label\ttext\nx\ta\n", Regression(), "line 2 has 'x', which is no number, as its target"),
        ("a.tsv", "label\ttext\n\ta\n", Regression(), "line 2 has no number as its target"),
        ("a.jsonl", '{"label": 3, "text": "a"}\n', MultiLabel(), "labels that are neither a list nor a text (3)"),
        ("a.conll", "A B-X\nB O\n\nC\n", Tagging(), "a.conll line 4 has 1 of 2 columns ('C')"),
        ("a.conll", "A\tB-X\n\tO\n", Tagging(), "a.conll line 2 has an empty column"),
        ("a.conll", "A B-X\nB X\nC B-Y\n", Tagging(), "the tag X has no letter of a scheme"),
        ("a.conll", "A B-X\nB I-X\nC O\nD B-Y\n", Tagging(labels=("O", "B-X", "I-X")), "a.conll line 4 has the label 'B-Y'"),
        ("a.jsonl", '{"tokens": ["A"], "tags": ["O", "O"]}\n', Tagging(), "line 1 has 1 words and 2 tags, so tags are left over"),
        ("a.jsonl", '{"tokens": ["A", "B"], "tags": ["O"]}\n', Tagging(), "2 words and 1 tags, so words are left over"),
        ("a.jsonl", '{"tokens": ["A", ""], "tags": ["O", "O"]}\n', Tagging(), "line 1 word 2 has an empty word"),
        ("a.jsonl", '{"text": "a", "choices": ["x"], "label": 0}\n', MultipleChoice(), "has 1 choices with text of 1"),
        ("a.jsonl", '{"text": "a", "choices": ["x", "y"], "label": 2}\n', MultipleChoice(), "line 1 has the label '2'"),
        ("a.jsonl", '{"source": [{"role": "user", "content": "x"}]}\n', Generation(), "line 1 has no conversation"),
        ("a.json", json.dumps({"data": [{"paragraphs": 1}]}), Answers(), "article 1 has no list paragraphs"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_its_place(write, name, content, task, told):
    path = write(name, content)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        opened(f"files:{path}|{path}", task)
    assert "\n" not in str(caught.value)


def test_bad_parallel_files(write):
    en, de = write("a.en", "one\ntwo\n"), write("a.de", "eins\n")
    with pytest.raises(DataError, match=re.escape(f"parallel files differ in their lines ({en} 2, {de} 1)")):
        opened(f"files:{en}+{de}", Generation())
    with pytest.raises(DataError, match="3 parallel files have 2 columns"):
        opened(f"files:{en}+{de}+{de}", Generation())


def question(answers, text="What?", number=0):
    return {"id": f"q{number}", "question": text, "answers": answers}


def squad(*questions):
    return json.dumps(
        {"data": [{"title": "T", "paragraphs": [{"context": "Das Haus ist rot.", "qas": list(questions)}]}]}, indent=1
    )


def test_answers_that_are_not_at_their_offset(write):
    good = [{"text": "Haus", "answer_start": 4}]
    bad = [{"text": "Haus", "answer_start": 5}]
    train = write("a.json", squad(question(good), question(bad, number=1), question([*bad, *good], number=2)))
    task = opened(f"files:{train}|{train}", Answers())
    assert fields(task.train, "id") == [("q0",), ("q2",)]  # q2 has one that is in its place
    assert fields(task.valid, "id") == [("q0",), ("q1",), ("q2",)]
    assert any("answers that are not where the source says: 2 (q1, q2), 1 left out" in note for note in task.notes)
    line = Path(train).read_text().split('"q1"')[0].count("\n") + 1
    assert f"a.json line {line} question q1 has the answer 'Haus' at character 5, where 'aus ' stands" in " ".join(
        task.notes
    )
    weights = [row.labels["start_weights"].item() for row in task.valid.rows]
    assert weights == [1.0, 0.0, 1.0]
    with pytest.raises(DataError, match=r"question q1 has the answer 'Haus' at character 5.*mend its answer_start"):
        opened(f"files:{train}|{train}", Answers(strict=True))


def test_questions_without_text_or_answer(write):
    good = [{"text": "Haus", "answer_start": 4}]
    empty = write("a.json", squad(question(good), question(good, text=" ", number=1)))
    task = opened(f"files:{empty}|{empty}", Answers())
    assert len(task.train) == 1 and any("questions without text were left out: 1 (q1)" in note for note in task.notes)
    none = write("b.json", squad(question(good), question([], number=1)))
    with pytest.raises(DataError, match=r"question q1 has no answer; if that is meant, as in SQuAD 2.0"):
        opened(f"files:{none}|{none}", Answers())
    assert len(opened(f"files:{none}|{none}", Answers(no_answer=True)).train) == 2


def test_text_that_the_tokenizer_leaves_nothing_of(write):
    from data.tokenizers import WordPiece, train_tokenizer

    path = write("a.tsv", "label\ttext\n1\tgood\n0\t\u200b\n")
    tokenizer = train_tokenizer(WordPiece(60), ["good bad"])
    with pytest.raises(DataError, match=r"a.tsv line 3 has a text of which the tokenizer leaves nothing"):
        open_task(TaskData(Classification(), parse_task_source(f"files:{path}|{path}")), tokenizer)


def test_training_texts_that_are_held_out_too_are_told(write):
    long = "A description that is longer than the sixty letters by which copies are known, "
    train = write("a.tsv", f"label\ttext\n1\t{long}one.\n0\tother\n1\tthird\n")
    dev = write("b.tsv", f"label\ttext\n1\t{long.upper()}two.\n0\tfourth\n")
    task = opened(f"files:{train}|{dev}")
    assert any(
        "1 of 3 training examples open as a held-out one does: --data.drop_repeated True" in n for n in task.notes
    )
    task = opened(f"files:{train}|{dev}", drop_repeated=True)
    assert fields(task.train, "text") == [("other",), ("third",)]


def test_a_limit_does_not_take_classes_away(write):
    train = write("a.tsv", "label\ttext\nx\tone\nx\ttwo\ny\tthree\n")
    task = opened(f"files:{train}|{train}", train_limit=2)
    assert task.train.labels == ("x", "y") and len(task.train) == 2


def test_too_few_texts_to_hold_one_out(write):
    path = write("a.tsv", "label\ttext\n1\tgood\n0\tgood\n")
    with pytest.raises(DataError, match="has 1 text, too few to hold one out"):
        opened(f"files:{path}")
