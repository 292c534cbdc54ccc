"""A run goes out as a published folder: it comes back the same to the bit, and transformers answers from it as we do."""

import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from data.tokenizers import SpecialIds
from model.encoder import MaskedLanguageModel
from model.families import bert
from model.initializers import Normal
from model.norms import RMSNorm
from model.positions import ALiBi
from model.published import Architecture, HubError
from model.publishing import express
from model.stack import Stack
from train import export
from train.command import run_command
from train.objectives import PrefixLM, SequenceToSequence, SpanCorruption
from train.outputs import outputs
from train.pretrained import load, open_any, save, token_ids
from train.prompt_format import trained_format
from train.run import Run
from train.state import split_model

SHORT = ("--steps", "4", "--evaluate-every", "4", "--evaluate-rows", "8", "--checkpoint-every", "2")
TEXTS = [
    "The cat sat on the mat.",
    "Return a new list; see also `sorted()`, dict.items() and __init__.",
    "  two  spaces,\ta tab\nand a line",
    "Café, naïve, Zürich, Ærøskøbing",
    "e\u0301 is é in two parts",
    "我们喜欢自然语言处理。",
    "日本語のテキストと한국어",
    "Привет, мир! Καλημέρα",
    "emoji 🙂👩‍👩‍👧 and ™ ½ ﬁ",
    "UPPER lower MiXeD 12345 3.14e-10",
    "https://example.org/a?b=c&d=%20",
    "a" * 60,
    "x",
]


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `train.export` with these words in this process; gives its exit code and what it said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.export", *map(str, words)])
        code = run_command(lambda: export.main())
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_run_comes_back_the_same_to_the_bit(here, command, tmp_path):
    folder, to = tmp_path / "run", tmp_path / "published"
    assert here("--run-dir", folder, *SHORT).code == 0
    code, said, error = command(folder, "--to", to, "--step", "2")
    assert code == 0, error
    assert f"{folder} after step 2" in said and "BertForPreTraining of bert" in said
    assert f"BertForPreTraining.from_pretrained('{to}')" in said
    run, back = Run.open(folder, step=2), load(to)
    ours, theirs = (jax.tree.leaves(jax.tree.map(np.asarray, opened)) for opened in (run.params, params_of(back)))
    assert len(ours) == len(theirs) and all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
    assert back.tokenizer.special == run.tokenizer.special
    for text in TEXTS:
        ids = [one.encode(text, special_tokens=True).tolist() for one in (run.tokenizer, back.tokenizer)]
        assert ids[0] == ids[1], text
    ids = run.tokenizer.encode(TEXTS[0], special_tokens=True)[None, :32]
    a, b = (open_any(path, step=step).model for path, step in ((folder, 2), (to, None)))
    assert all(
        np.array_equal(x, outputs(b, {"input_ids": ids})[key]) for key, x in outputs(a, {"input_ids": ids}).items()
    )

    # And bad input, each in one line, with nothing written.
    for words, expected in [
        ((folder, "--to", to), f"{to} is there already and is not empty"),
        ((folder, "--to", tmp_path / "new", "--family", "gpt2"), "gpt2 cannot express the class MaskedLanguageModel"),
        ((folder, "--to", tmp_path / "new", "--family", "gpt5"), "there is no family 'gpt5'; use one of bert, "),
        ((folder, "--to", tmp_path / "new", "--step", "3"), "has no checkpoint of step 3"),
        ((tmp_path, "--to", tmp_path / "new"), f"{tmp_path} is not a run folder"),
        ((to, "--to", tmp_path / "new"), f"{to} is a published folder already"),
    ]:
        code, said, error = command(*words)
        assert (code, said) == (2, "") and expected in error and error.count("\n") == 1, error
        assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*"))
    prefix = replace(run, experiment=replace(run.experiment, objective=PrefixLM()))
    with pytest.raises(HubError, match=r"cannot express objective=PrefixLM\(.*a prefix that is seen both ways"):
        save(prefix, tmp_path / "new")


def test_a_decoder_is_told_to_begin_as_it_was_trained():
    """With hidden spans behind the padding token, with pairs of texts behind the beginning of a text."""
    tokenizer: Any = SimpleNamespace(special=SpecialIds(pad=0, bos=2, eos=1))
    for objective, begin in ((SpanCorruption(), 0), (SequenceToSequence(), 2)):
        asked = trained_format(tokenizer, True, objective)
        assert token_ids(tokenizer, asked)["decoder_start_token_id"] == begin
        assert token_ids(tokenizer, asked)["forced_eos_token_id"] is None
    assert "decoder_start_token_id" not in token_ids(tokenizer)


def params_of(pretrained):
    return split_model(pretrained.model).params


SMALL_BERT = bert.config("tiny", vocab_size=64)
ENCODER = SMALL_BERT.attention


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"norm_placement": "pre"}, "the nearest, bert, cannot express norm_placement='pre'"),
        (
            {"norm_placement": "sandwich", "attention": replace(ENCODER, norm_query_key=True)},
            "bert, cannot express attention.norm_query_key=True, norm_placement='sandwich'",
        ),
        (
            {"positions": ALiBi(), "share_layers": True, "embedding_size": 16},
            "bert, cannot express positions=ALiBi(), embedding_size=16, share_layers=True",
        ),
        ({"mlp": None, "norm": RMSNorm()}, "bert, cannot express mlp=None, norm={'name': 'rms_norm'"),
        ({"num_token_types": 0, "scale_embeddings": True}, "num_token_types=0, scale_embeddings=True"),
    ],
)
def test_what_no_family_can_express_is_refused_by_field(change, expected):
    with pytest.raises(HubError, match=re.escape(expected)):
        express(Architecture(MaskedLanguageModel, replace(SMALL_BERT, **change), {"next_sentence": True}))


def test_how_a_model_is_trained_and_run_is_never_refused():
    config = replace(SMALL_BERT, stack=Stack(loop="unroll"), dropout_rate=0.3, initializer=Normal(0.5))
    assert express(Architecture(MaskedLanguageModel, config, {"next_sentence": True})).family.model_type == "bert"


POST = ("--model.norm-placement", "post")
SMALL = ("--model.hidden-size", "64", "--model.attention.num-heads", "4", "--model.mlp.intermediate-size", "128")
RUNS = {  # experiment, overrides, what it is published as
    "bert_small": (SMALL, "BertForPreTraining"),
    "bert_tiny": (POST, "BertForMaskedLM"),
    "roberta_tiny": (POST, "RobertaForMaskedLM"),
    "gpt2_tiny": ((), "GPT2LMHeadModel"),
    "llama_tiny": ((), "LlamaForCausalLM"),
    "t5_tiny": ((), "T5ForConditionalGeneration"),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch and transformers, not ours
@pytest.mark.parametrize("name", RUNS)
def test_transformers_opens_an_exported_run_and_answers_alike(name, child, command, tmp_path):
    """No key missing or unexpected, equal ids on texts in several scripts, equal logits on all of them."""
    reason = "NO EXPORTED RUN IS OPENED BY ITS PUBLISHED CLASS: it needs torch and transformers 5"
    torch = pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", minversion="5", reason=reason)
    more, kind = RUNS[name]
    words = ("--exp", name, "--run-dir", tmp_path / "run", "--steps", "2", "--evaluate-rows", "8", *more)
    ended = child(*words, "--data.batch-size", "4").wait()
    assert ended.code == 0, ended.errors
    code, said, error = command(tmp_path / "run", "--to", tmp_path / "published")
    assert code == 0 and kind in said, error
    published = getattr(transformers, kind)
    model, report = published.from_pretrained(
        tmp_path / "published", attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    model.eval()
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path / "published"), load(tmp_path / "published")
    assert json.loads((tmp_path / "published/config.json").read_text())["pad_token_id"] == theirs.pad_token_id
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ids == ours.tokenizer.encode(text, special_tokens=True).tolist(), text
        ids = np.array([ids[:100]])
        inputs = {"input_ids": ids}
        if kind.startswith("T5"):
            inputs["decoder_input_ids"] = np.concatenate([[[model.config.decoder_start_token_id]], ids[:, :5]], axis=1)
        with torch.no_grad():
            answer = model(**{key: torch.tensor(value) for key, value in inputs.items()})
        found = ours.outputs(**inputs)
        for key, value in {"logits": "prediction_logits" if "prediction_logits" in answer else "logits",
                           "nsp_logits": "seq_relationship_logits"}.items():  # fmt: skip
            if value in answer:
                assert np.abs(found[key] - answer[value].numpy()).max() < 1e-4
