"""A model that writes text is asked in the same way as a run and as the folder that it was exported to."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flax import nnx

from data.tasks.choices import Generation
from data.tasks.config import TaskData
from data.tasks.sources import TaskFiles
from data.tokenizers import ByteBPE, Bytes, Characters, SentencePiece, WordPiece, Words, load_tokenizer, train_tokenizer
from data.tokenizers.exporting import export_tokenizer
from model.decoder import LanguageModel
from model.encoder_decoder import EncoderDecoder
from train.likelihood import Scorer
from train.objectives import NextToken, SequenceToSequence, SpanCorruption
from train.pretrained import Opened, load, save, token_ids
from train.prompt_format import PromptFormat, published_format, trained_format
from train.prompts import ids_of, manner_of
from train.writing import write

TESTS = Path(__file__).parents[1]
TEXTS = ["the cat sat on the mat and saw the cat", "a very long, a very good film: café", "cats, mats; sat <s> </s>"]
PROMPTS = ["the cat", "a very good film", ""]
VOCABULARIES = {
    "byte pairs": lambda: train_tokenizer(ByteBPE(300), TEXTS),
    "byte pairs of roberta": lambda: train_tokenizer(ByteBPE(300, "roberta"), TEXTS),
    "pieces": lambda: train_tokenizer(SentencePiece(36), TEXTS),
    "pairs of pieces": lambda: train_tokenizer(SentencePiece(48, "bpe"), TEXTS),
    "sentinels": lambda: train_tokenizer(SentencePiece(40, sentinels=4), TEXTS),
    "word pieces": lambda: train_tokenizer(WordPiece(80), TEXTS),
    "bytes": lambda: train_tokenizer(Bytes(), []),
    "characters": lambda: train_tokenizer(Characters(), TEXTS),
    "bare characters": lambda: train_tokenizer(Characters(specials=False), TEXTS),
    "words": lambda: train_tokenizer(Words(), TEXTS),
    "bare words": lambda: train_tokenizer(Words(specials=False), [*TEXTS, " ".join(PROMPTS)]),
    "published llama": lambda: load_tokenizer(TESTS / "data/published/llama"),
    "published llama as json": lambda: load_tokenizer(TESTS / "data/published/llama_json"),
    "published gpt2": lambda: load_tokenizer(TESTS / "data/published/gpt2"),
}
TASK = TaskData(task=Generation(), source=TaskFiles("a.tsv", "b.tsv"), row_length=32)


def of_run(family: str, tokenizer: Any, objective: Any, data: Any = None) -> Opened:
    """A model of random weights with all that saving and writing ask of a run."""
    config = load(TESTS / "twins" / family).config
    config = dataclasses.replace(config, vocab_size=tokenizer.vocab_size)
    make = EncoderDecoder if family in ("t5", "marian") else LanguageModel
    experiment = SimpleNamespace(objective=objective, data=data, peft=None)
    run: Any = SimpleNamespace(experiment=experiment)
    return Opened(make(config, rngs=nnx.Rngs(3)), tokenizer, config, "run", run=run)


def there_and_back(tokenizer: Any, objective: Any, folder: Path, *, two_sided: bool = False, data: Any = None):
    """How a run is asked, the vocabulary as it comes back from an export of that run, and how the folder is asked."""
    asked = trained_format(tokenizer, two_sided, objective, data)
    export_tokenizer(tokenizer, folder, around=asked.around)
    back = load_tokenizer(folder)
    return asked, back, published_format(back, two_sided, token_ids(tokenizer, asked))


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_decoder_is_asked_alike_as_a_run_and_as_a_folder(name, tmp_path):
    """Opening, ends, ids of prompts: whatever opens and closes texts in training, and in the vocabulary's own template."""
    tokenizer = VOCABULARIES[name]()
    for opening, closing in [(None, None), (None, "eos"), ("bos", "eos"), ("cls", None), ("sep", "eos")]:
        objective = NextToken(opening=opening, closing=closing)
        try:
            trained_format(tokenizer, False, objective)
        except ValueError:  # the vocabulary has no such token
            continue
        asked, back, published = there_and_back(tokenizer, objective, tmp_path / f"{opening}_{closing}")
        assert published == dataclasses.replace(asked, prefix=False), objective
        assert back.special == tokenizer.special
        for prompt in PROMPTS:
            ids = [*asked.opening, *tokenizer.encode(prompt)]
            assert back.encode(prompt, special_tokens=True).tolist() == ids
        asked_again, _, again = there_and_back(back, objective, tmp_path / f"{opening}_{closing}_again")
        assert asked_again == again == asked


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama2", "qwen3"])
def test_the_texts_and_their_likelihoods_are_the_same(family, tmp_path):
    tokenizer = VOCABULARIES["byte pairs"]()
    run = of_run(family, tokenizer, NextToken(opening="bos", closing="eos"))
    back = load(save(run, tmp_path / "out"))
    opened = Opened(back.model, back.tokenizer, back.config, back.name, back)
    one, other = (write(each, PROMPTS, max_new_tokens=5) for each in (run, opened))
    assert [[text.tokens.tolist() for text in row] for row in one] == [
        [t.tokens.tolist() for t in row] for row in other
    ]
    bare = of_run(family, tokenizer, NextToken(opening=None, closing="eos"))
    assert ids_of(bare, "the", manner_of(bare)).tolist() != ids_of(run, "the", manner_of(run)).tolist()
    likely = [[found.nats for found in _scores(each)] for each in (run, opened)]
    np.testing.assert_allclose(*likely, rtol=1e-6)


def _scores(opened):
    scorer = Scorer(opened)
    return scorer.score([scorer.encode("the cat", " sat"), scorer.encode("", "the film")])


@pytest.mark.parametrize("name", ["sentinels", "word pieces", "byte pairs", "pieces", "bytes"])
def test_an_encoder_decoder_is_asked_alike(name, tmp_path):
    """Its source ends as in training, also where the vocabulary's own template opens a text too; its decoder begins alike."""
    tokenizer = VOCABULARIES[name]()
    for number, objective in enumerate((SequenceToSequence(), SpanCorruption())):
        asked, back, published = there_and_back(tokenizer, objective, tmp_path / str(number), two_sided=True)
        assert published == asked and asked.start is not None
        ids = [*asked.opening, *tokenizer.encode("the cat"), *asked.closing]
        assert ids == back.encode("the cat", special_tokens=True).tolist()


def test_a_task_of_texts_opens_prompts_as_its_rows_do(tmp_path):
    """Rows of a task are framed by the tokenizer, whatever the objective says of packed text."""
    tokenizer = VOCABULARIES["published llama"]()
    asked, _, published = there_and_back(tokenizer, NextToken(), tmp_path, data=TASK)
    assert asked.opening == (tokenizer.special.bos,) and published == asked


def test_fields_of_a_published_folder_decide(tmp_path):
    """add_bos_token goes over the template of tokenizer.json, as in transformers; null is no end; a list is several."""
    tokenizer = VOCABULARIES["published llama as json"]()
    there_and_back(tokenizer, NextToken(opening="bos", closing="eos"), tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    bos, eos = tokenizer.special.need("bos", "eos", purpose="this test")

    def asked(fields: dict, **change: bool):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | change))
        return published_format(load_tokenizer(tmp_path), False, fields)

    assert asked({}) == PromptFormat((bos,), (), (eos,))
    assert asked({}, add_bos_token=False).opening == ()
    assert asked({}, add_bos_token=True, add_eos_token=True).opening == (bos,)
    assert asked({"eos_token_id": None}).stops == ()
    assert asked({"eos_token_id": [2, 3]}).stops == (2, 3)
