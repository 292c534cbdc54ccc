"""An option that a command cannot use is refused, in one line that says what to do; it is never dropped."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from train import embed, evaluate, export, finetune, generate, inspect, pretrain
from train.command import run_command
from train.registry import load
from train.session import OF_COMMANDS, train

TWINS = Path(__file__).parents[1] / "twins"

# The command, what is given, and a part of the line. {bert}, {gpt2}: published folders; {exp}: an experiment of
# seconds; {new}: a folder that is not there.
USELESS = [
    (pretrain, "--exp=bert_tiny --run-dir {new} --watch-every 5", "--watch-every is of --watch"),
    (pretrain, "--exp=bert_tiny --run-dir {new} --keep-base", "--keep-base is for runs with --peft"),
    (pretrain, "--exp={exp} --run-dir {new} --steps 8 --profile 8:9", "--profile 8:9 begins after the last of 8 steps"),
    (pretrain, "--exp={exp} --run-dir {new} --tuning.mixout 0.5", "name them with --init"),
    (pretrain, "--exp=bert_tiny --seeds 2", "there is no"),
    (finetune, "--exp=bert_tiny", "bert_tiny pre-trains on text"),
    (finetune, "--exp=sst2 --init {bert} --trials 3", "--trials counts the runs of --search"),
    (finetune, "--exp=sst2 --fresh", "--fresh takes the shape of --init"),
    (finetune, "--exp=sst2 --init {bert} --seeds 2 --search seed=1,2", "--search chooses runs by itself"),
    (finetune, "--exp=sst2 --init {bert} --seeds 0,1 --seed 3", "--seed and --seeds both say"),
    (finetune, "--exp=sst2 --init {bert} --sweep seed=1,2 --seed 3", "--seed has one value"),
    (finetune, "--exp=sst2 --init {bert} --steps 5 --epochs 1", "--steps and --epochs say the same"),
    (finetune, "--exp=sst2 --init {bert} --seeds 2 --verify-resume", "--verify-resume is of one run"),
    (evaluate, "{bert} --step 3", "--step is of runs"),
    (evaluate, "{bert} --base {gpt2}", "--base is of runs"),
    (evaluate, "{bert} --seed 3", "--seed cannot be changed after training"),
    (evaluate, "{gpt2} --tasks library --harness hellaswag", "one of the two"),
    (evaluate, "{gpt2} --tasks library --seed 3", "--seed draws the shots, and there are none"),
    (evaluate, "{gpt2} --harness hellaswag --data.source files:x", "--data.source is not for the harness"),
    (generate, "{gpt2} --prompt a --seed 3", "--seed means nothing where the likeliest token is taken"),
    (generate, "{gpt2} --prompt a --temperature 0 --seed 3", "--seed means nothing where the likeliest token is taken"),
    (generate, "{gpt2} --prompt a --num-beams 2 --seed 3", "--seed means nothing where beams are searched"),
    (generate, "{gpt2} --prompt a --num-beams 2 --top-k 3", "--top-k draws, and --num-beams searches"),
    (generate, "{gpt2} --prompt a --num-beams 2 --logprobs", "--logprobs are not kept by a beam search"),
    (generate, "{gpt2} --prompt a --length-penalty 2", "--length-penalty belongs to a beam search"),
    (generate, "{gpt2} --prompt a --temperature 0 --num-return-sequences 2", "writes the same text each time"),
    (generate, "{gpt2} --prompt a --step 3", "which has no steps; leave --step out"),
    (
        generate,
        "{bert} --prompt [MASK] --max-new-tokens 3",
        "--max-new-tokens means nothing to a masked language model",
    ),
    (generate, "{bert} --prompt [MASK] --temperature 1 --seed 3", "means nothing to a masked language model"),
    (inspect, "{bert} word --target other", "target"),
    (inspect, "{bert} word --kind cross", "cross"),
    (inspect, "{bert} --sites --out {new}", "--sites makes no page; leave --out out"),
    (inspect, "{bert} word --step 1", "which has no steps; leave --step out"),
    (inspect, "{bert} word --ot x.html", "there is no option --ot; did you mean --out?"),
    (inspect, "{bert}", "give a text to look at, or --sites"),
    (export, "{bert} --too {new}", "there is no option --too; did you mean --to?"),
    (export, "{bert}", "required: --to"),
    (embed, "{bert} --text word --base {gpt2}", "which holds all of its weights; leave --base out"),
    (embed, "{gpt2} --text word --pooling cls", "the first token of a decoder has seen nothing but itself"),
    (export, "{bert} --to {new} --adapter --family bert", "leave --family out"),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, Path]:
    """A published encoder and a published decoder, with vocabularies."""
    import tokenizers as library

    folder = tmp_path_factory.mktemp("published")
    for name in ("gpt2", "bert"):
        shutil.copytree(TWINS / name, folder / name)
    inner = library.Tokenizer(library.models.WordLevel({"<|endoftext|>": 0, "a": 1, "word": 2}, unk_token="a"))
    inner.pre_tokenizer = library.pre_tokenizers.Whitespace()
    inner.add_special_tokens(["<|endoftext|>"])
    inner.save(str(folder / "gpt2/tokenizer.json"))
    (folder / "bert/vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n")
    return {name: folder / name for name in ("gpt2", "bert")}


@pytest.mark.parametrize(("command", "words", "expected"), USELESS, ids=lambda value: getattr(value, "__name__", None))
def test_what_a_command_cannot_use_is_refused(
    command, words, expected, published, tiny_experiment, tmp_path, monkeypatch, capsys
):
    new = tmp_path / "new"
    words = shlex.split(words.format(**published, exp=tiny_experiment, new=new))
    monkeypatch.setattr(sys, "argv", [command.__name__, *words])
    try:
        code = run_command(command.main)
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2 and expected in said, said
    assert len([line for line in said.splitlines() if "error: " in line]) == 1, said
    assert not (new / "config.json").exists()


@pytest.mark.parametrize("name", OF_COMMANDS)
def test_what_a_call_cannot_use_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"has no use for {name}"):
        train(load("bert_tiny").experiment, tmp_path / "run", **{name: "2"})
    assert not (tmp_path / "run").exists()
