"""Tags, answers, choices, similar texts and generation as rows, and predictions back as what was asked for."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batch import segment_spans
from data.errors import DataError
from data.tasks.answers import Window, answer_tokens, predictions, widest, window_bounds
from data.tasks.batches import TaskBatches, eval_task_batches
from data.tasks.choices import Answers, Generation, MultipleChoice, Similarity, Tagging
from data.tasks.config import TaskData
from data.tasks.examples import Example
from data.tasks.opened import TaskSet, open_task, task_set
from data.tasks.sources import parse_task_source
from data.tasks.tagging import LOST, word_tags
from data.text_pairs import TextPairs
from data.tokenizers import ByteBPE, Bytes, Characters, SentencePiece, WordPiece, Words, train_tokenizer

TEXTS = ["the quick brown fox jumps over the lazy dog in Paris, don't it? " * 3, "naïve café 世界 你好 e\u0301"] * 8
CHOICES = [WordPiece(200), SentencePiece(46), ByteBPE(300), ByteBPE(300, "roberta"), Bytes(), Characters(), Words()]
PIECES = st.sampled_from(
    ["the", "fox", "don't", "Paris,", "世界", "你", "e\u0301a", "naïve", "x", "jumps", "-", "\u200b", "😀"]
)


@pytest.fixture(scope="module", params=CHOICES, ids=lambda choice: str(choice)[:30])
def tokenizer(request):
    return train_tokenizer(request.param, TEXTS)


@pytest.fixture(scope="module")
def letters():
    return train_tokenizer(Characters(), ["".join(chr(code) for code in range(32, 127)) + "\n世界你好"])


def made(task, examples, tokenizer, said=None, **fields) -> TaskSet:
    listed = [Example(fields, f"line {number}") for number, fields in enumerate(examples, start=1)]
    return task_set(task, listed, tokenizer, TaskData(task, **fields), [].append if said is None else said.append)


@given(
    st.lists(st.tuples(PIECES, st.sampled_from(["O", "B-X", "I-X"])), min_size=1, max_size=9),
    st.sampled_from([" ", ""]),
)
@settings(max_examples=40, deadline=None)
def test_tags_come_back_from_their_first_sub_words(tokenizer, pairs, joiner):
    task = Tagging(labels=("O", "B-X", "I-X"), joiner=joiner)
    words, tags = [word for word, _ in pairs], [tag for _, tag in pairs]
    if not len(tokenizer.encode(joiner.join(words))):
        return
    found = made(task, [{"words": words, "tags": tags}], tokenizer, row_length=256)
    (row,), (places,) = found.rows, found.extras["word_places"]
    got, lost = word_tags(task.labels, [places], [row.labels["tag_targets"]])
    assert lost == np.count_nonzero(places == LOST)
    assert got[0] == [tag if place != LOST else "O" for tag, place in zip(tags, places, strict=True)]
    assert row.labels["tag_weights"].sum() == len(words) - lost
    assert np.array_equal(np.flatnonzero(row.labels["tag_weights"]), np.unique(places[places != LOST]))

    located = tokenizer.encode_with_offsets(joiner.join(words))
    shift = tokenizer.frame(1).fill(located.ids).starts[0]
    begin = 0
    for word, place in zip(words, places, strict=True):
        end = begin + len(word)
        own = [
            i
            for i, (a, b) in enumerate(zip(located.starts, located.stops, strict=True))
            if a < b and a < end and b > begin
        ]
        fresh = [i for i in own if located.starts[i] >= begin or begin == 0]
        assert place == (fresh[0] + shift if fresh else LOST)
        if joiner:
            assert fresh or tokenizer.encode(word).size == 0 or word == "\u200b"
        begin = end + len(joiner)


def test_words_behind_the_end_of_a_row_count_as_outside(letters):
    said = []
    task = Tagging(labels=("B-X", "O"))
    example = {"words": ["abc", "def", "ghi"], "tags": ["B-X", "B-X", "B-X"]}
    found = made(task, [example], letters, said, row_length=9)  # [CLS] abc_def [SEP]
    assert found.extras["word_places"][0].tolist() == [1, 5, LOST]
    predicted = [np.zeros(9, np.int32)]
    assert word_tags(task.labels, found.extras["word_places"], predicted) == ([["B-X", "B-X", "O"]], 1)
    assert "their 1 words behind the end count as O" in said[0]


def test_chinese_words_are_characters():
    tokenizer = train_tokenizer(WordPiece(60), ["世界你好"])
    found = made(
        Tagging(labels=("O", "B-X", "E-X"), scheme="BMES", joiner=""),
        [{"words": list("你好世界"), "tags": ["O", "O", "B-X", "E-X"]}], tokenizer,
    )  # fmt: skip
    assert found.extras["word_places"][0].tolist() == [1, 2, 3, 4]
    assert found.rows[0].labels["tag_targets"].tolist() == [0, 0, 0, 1, 2, 0]


@given(st.lists(PIECES, min_size=1, max_size=40), st.data())
@settings(max_examples=40, deadline=None)
def test_an_answer_comes_back_from_its_window(tokenizer, pieces, data):
    context = " ".join(pieces)
    begin = data.draw(st.integers(0, len(pieces) - 1))
    end = data.draw(st.integers(begin + 1, min(len(pieces), begin + 3)))
    answer, start = " ".join(pieces[begin:end]), len(" ".join(pieces[:begin])) + (begin > 0)
    example = {
        "id": "q",
        "title": "",
        "question": "fox the",
        "context": context,
        "answers": [{"text": answer, "start": start}],
    }
    if not len(tokenizer.encode(context)):
        return
    question = len(tokenizer.encode("fox the"))
    room = 48
    length = room + question + tokenizer.frame(2).size + 2  # two ends more, where the tokenizer puts none
    task = Answers(max_answer=10_000)
    found = made(task, [example], tokenizer, row_length=length, stride=20)
    located = tokenizer.encode_with_offsets(context)
    span = answer_tokens(located, Example(example, "line 1"))
    holding = [row for row, window in zip(found.rows, found.extras["windows"], strict=True)
               if span is not None and window.first <= span[0] and span[1] < window.stop]  # fmt: skip
    seen = np.zeros(len(located.ids), bool)
    for row, window in zip(found.rows, found.extras["windows"], strict=True):
        assert len(row.tokens) <= length
        size = window.stop - window.first
        assert np.array_equal(row.tokens[window.place : window.place + size], located.ids[window.first : window.stop])
        allowed = np.flatnonzero(row.labels["span_allowed"])
        assert allowed.tolist() == sorted({0, *range(window.place, window.place + size)})
        seen[window.first : window.stop] = True
        if not any(row is other for other in holding):
            assert row.labels["start_targets"].item() == row.labels["end_targets"].item() == 0
    assert seen.all()
    starts, ends = ([_at(row, f"{side}_targets") for row in found.rows] for side in ("start", "end"))
    (prediction,) = predictions(task, found.examples, found.owner, found.extras, starts, ends)
    padded = [[np.append(scores, np.full(7, 99.0, np.float32)) for scores in side] for side in (starts, ends)]
    assert found.answers(*padded) == [prediction]
    if holding:
        text = prediction.text(no_answer=False)
        covered = context[located.starts[span[0]] : located.stops[span[1]]]
        assert (
            text == covered and answer.strip("\u200b -") in text
        )  # what the tokenizer drops may be left out at the ends


def _at(row, name):
    logits = np.zeros(len(row.tokens), np.float32)
    place = row.labels[name].item()
    logits[place] = 9.0 if place else 1.0
    return logits


def test_windows_share_their_stride():
    for size, room, stride in ((100, 30, 10), (30, 30, 10), (31, 30, 29), (7, 30, 0)):
        bounds = window_bounds(size, room, stride)
        assert bounds[0][0] == 0 and bounds[-1][1] == size
        assert all(a[1] - b[0] == stride for a, b in pairwise(bounds))
        assert all(stop - first <= room for first, stop in bounds)
    most = widest([Window(3, 0, 6), Window(3, 4, 10)])
    assert [mask.tolist() for mask in most] == [[True] * 5 + [False], [False] + [True] * 5]


def test_answers_that_no_window_holds_are_told(letters):
    said = []
    example = {
        "id": "q",
        "title": "",
        "question": "why",
        "context": "a" * 30,
        "answers": [{"text": "a" * 9, "start": 8}],
    }
    found = made(Answers(), [example], letters, said, row_length=18, stride=2)
    assert any("1 answers of 1 held-out questions lie whole in no window" in line for line in said)
    assert not any(row.labels["start_targets"].any() for row in found.rows)


def test_a_row_without_room_for_its_windows_is_refused(letters):
    example = {"id": "q", "title": "", "question": "what", "context": "a" * 60, "answers": [{"text": "a", "start": 3}]}
    with pytest.raises(
        DataError, match="leaves 13 tokens of the context beside the question, and windows share stride=64"
    ):
        made(Answers(), [example], letters, row_length=20)


def test_choices_are_segments_of_one_row(letters):
    examples = [
        {"text": "ab", "choices": ["x", "yz"], "label": 1},
        {"text": "c", "choices": ["u", "v", "w"], "label": 2},
    ]
    found = made(MultipleChoice(), examples, letters, row_length=60)
    first, second = found.rows
    assert [b - a for a, b in segment_spans(first.segments)] == [6, 7]
    for row, example in zip(found.rows, examples, strict=True):
        for (start, stop), choice in zip(segment_spans(row.segments), example["choices"], strict=True):
            ids, types = letters.encode_pair(example["text"], choice)
            assert np.array_equal(row.tokens[start:stop], ids) and np.array_equal(row.token_types[start:stop], types)
            assert np.array_equal(row.positions[start:stop], np.arange(stop - start))
    assert first.labels["choice_places"].tolist() == [0, 6, 0] and second.labels["choice_places"].tolist() == [0, 5, 10]
    assert first.labels["choice_allowed"].tolist() == [True, True, False]
    assert [row.labels["choice_targets"].item() for row in found.rows] == [1, 2]
    cut = made(MultipleChoice(), [{"text": "a" * 50, "choices": ["b" * 3] * 2, "label": 0}], letters, row_length=20)
    assert len(cut.rows[0].tokens) == 20 and cut.cut == 1
    with_question = made(MultipleChoice(second=("q",)), [examples[0] | {"second": "why"}], letters)
    assert np.array_equal(with_question.rows[0].tokens[:9], letters.encode_pair("ab why", "x")[0][:9])


def test_a_text_and_its_like_share_a_row(letters):
    example = {"text": "ab", "positive": "abc", "negative": "xyz"}
    for task, read in (
        (Similarity(), ["ab", "ab"]),
        (Similarity(positive=("p",)), ["ab", "abc"]),
        (Similarity(positive=("p",), negative=("n",)), ["ab", "abc", "xyz"]),
    ):
        roles = ["text", *(role for role in ("positive", "negative") if getattr(task, role))]
        (row,) = made(task, [{role: example[role] for role in roles}], letters).rows
        spans = segment_spans(row.segments)
        assert [row.tokens[a:b].tolist() for a, b in spans] == [
            letters.encode(t, special_tokens=True).tolist() for t in read
        ]
        assert row.labels["pair_weights"].tolist() == [1.0]


def test_similar_texts_are_trained_without_pairs_and_scored_with_them(letters, tmp_path):
    (tmp_path / "train.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "dev.tsv").write_text("sentence1\tsentence2\tscore\nab\tabc\t4.5\ncd\txy\t0.5\n")
    task = Similarity(positive=("sentence2",), score=("score",), metrics=("spearman",))
    word = f"files:{tmp_path}/train.txt|{tmp_path}/dev.tsv"
    found = open_task(TaskData(task, parse_task_source(word)), letters, [].append)
    assert any("has no column sentence2" in note and "each text is its own positive" in note for note in found.notes)
    first, second = segment_spans(found.train.rows[0].segments)
    assert np.array_equal(found.train.rows[0].tokens[slice(*first)], found.train.rows[0].tokens[slice(*second)])
    assert [example["score"] for example in found.valid.examples] == [4.5, 0.5]
    with pytest.raises(DataError, match=r"train.txt line 1 has no column sentence2, which scores need"):
        open_task(TaskData(task, parse_task_source(f"files:{tmp_path}/dev.tsv|{tmp_path}/train.txt")), letters)


def test_two_sides_are_those_of_pairs_of_texts(letters, tmp_path):
    from data.config import TextData
    from data.corpus import open_corpora
    from data.documents import MemoryDocuments
    from data.sentences import encode_documents
    from data.sources import Pairs

    (tmp_path / "a.tsv").write_text("abc\txy\nd\tuvw\n")
    data = TextData(Pairs(str(tmp_path / "a.tsv")), Characters())
    encoded = encode_documents(list(open_corpora(data.source)[0].texts()), letters)
    packer = TextPairs().packer(MemoryDocuments(encoded, letters.special, size=9), 16)
    examples = [{"source": "abc", "target": "xy"}, {"source": "d", "target": "uvw"}]
    found = made(Generation(), examples, letters, row_length=16)
    for number, row in enumerate(found.rows):
        segments = packer.cut([number], 0, None)
        texts = [encoded[number].ids[: encoded[number].ends[0]], encoded[number].ids[encoded[number].ends[0] :]]
        other = packer.write(segments, iter(texts))
        for name in ("tokens", "segments", "source_tokens", "source_segments", "positions"):
            mine, its = getattr(row, name), getattr(other, name)
            assert np.array_equal(mine, its[: len(mine)]) and not its[len(mine) :].any()
        for name in ("next_targets", "next_weights"):
            assert np.array_equal(row.labels[name], other.labels[name][: len(row.labels[name])])


def test_a_decoder_is_asked_for_the_target_only(tokenizer):
    task = Generation(template="the {source}:", sides="one")
    found = made(task, [{"source": "quick fox", "target": "lazy dog"}], tokenizer, row_length=64)
    (row,), (prompt,) = found.rows, found.extras["prompts"]
    weights, targets = row.labels["next_weights"], row.labels["next_targets"]
    assert np.array_equal(row.tokens[1:], targets[:-1])
    assert np.array_equal(row.tokens[: len(prompt)], prompt)
    asked = targets[weights > 0]
    special = tokenizer.special
    end = special.sep if special.eos is None else special.eos
    assert asked[-1] == end and weights.sum() == len(asked)
    assert np.flatnonzero(weights)[0] == len(prompt) - 1
    assert tokenizer.decode(asked[:-1]).split() == tokenizer.decode(tokenizer.encode("lazy dog")).split()


def test_what_is_too_long_is_cut_from_the_source(letters):
    example = {"source": "abcdefghijklmnop", "target": "xyz"}
    (row,) = made(Generation(template="say {source}: "), [example], letters, row_length=12).rows
    assert letters.decode(row.source_tokens) == "say abcde: [SEP]"
    (row,) = made(
        Generation(template="{source}! ", sides="one", target_length=3), [example], letters, row_length=12
    ).rows
    assert letters.decode(row.tokens) == "[CLS]abcdefg! xy" and len(row.tokens) == 12
    spoken = example | {"source": "user: abcdefgh\nuser: ij\nbot:", "spoken": True}
    (row,) = made(Generation(sides="one", target_length=3), [spoken], letters, row_length=16).rows
    assert letters.decode(row.tokens).startswith("[CLS]") and "user: ij\nbot:" in "user: ij\nbot:" + letters.decode(
        row.tokens
    )
    assert letters.decode(row.tokens).endswith(": ij\nbot: x"[-11:])
    with pytest.raises(DataError, match="line 1 does not fit"):
        made(Generation(template="a very long template {source}"), [example], letters, row_length=12)


def test_a_conversation_ends_with_what_is_asked(tmp_path, letters):
    spoken = [
        {"role": "user", "content": "Hi?"},
        {"role": "bot", "content": "Yes."},
        {"role": "user", "content": "So?"},
    ]
    lines = [{"dialogue": [*spoken, {"role": "bot", "content": f"Done {n}."}]} for n in range(2)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    word = f"files:{tmp_path}/a.jsonl|{tmp_path}/a.jsonl"
    task = open_task(TaskData(Generation(sides="one"), parse_task_source(word), row_length=64), letters, [].append)
    assert task.train.examples[1]["source"] == "user: Hi?\nbot: Yes.\nuser: So?\nbot: "
    assert task.train.examples[1]["target"] == "Done 1."
    assert [example["references"] for example in task.valid.examples] == [["Done 0.", "Done 1."]]  # of one source


@pytest.mark.parametrize("kind", ["tagging", "answers", "choice", "similar", "two", "one"])
def test_batches_of_every_kind(letters, kind):
    task, example = {
        "tagging": (Tagging(labels=("O", "B-X")), lambda n: {"words": ["ab"] * (1 + n % 5), "tags": ["O"] * (1 + n % 5)}),
        "answers": (Answers(), lambda n: {"id": str(n), "title": "", "question": "why", "context": "abcdefgh" * (1 + n % 7),
                                          "answers": [{"text": "cd", "start": 2}]}),
        "choice": (MultipleChoice(), lambda n: {"text": "ab" * (1 + n % 4), "choices": ["x", "yz"], "label": n % 2}),
        "similar": (Similarity(), lambda n: {"text": "abc" * (1 + n % 5)}),
        "two": (Generation(), lambda n: {"source": "abc" * (1 + n % 5), "target": "xy" * (1 + n % 3)}),
        "one": (Generation(sides="one"), lambda n: {"source": "abc" * (1 + n % 5), "target": "xy" * (1 + n % 3)}),
    }[kind]  # fmt: skip
    data = TaskData(task, row_length=48, batch_size=4, stride=8, bucket=8)
    found = made(task, [example(n) for n in range(11)], letters, row_length=48, batch_size=4, stride=8, bucket=8)
    batches = [TaskBatches(found, data, seed=0)[n][0] for n in range(4)] + list(eval_task_batches(found, data))
    for batch in batches:
        length = batch.tokens.shape[1]
        for number, row in enumerate(batch.example_ids):
            size = len(found.rows[row].tokens) if row >= 0 else 0
            assert not batch.segments[number, size:].any()
            for name, values in batch.labels.items():
                if name.endswith("_weights"):
                    mine = found.rows[row].labels[name].sum() if row >= 0 else 0.0
                    assert values[number].sum() == mine
        for name in ("tag_targets", "tag_weights", "span_allowed", "next_targets", "next_weights"):
            assert name not in batch.labels or batch.labels[name].shape == (4, length)
        if kind == "two":
            assert batch.source_tokens.shape == batch.source_segments.shape == batch.source_positions.shape
