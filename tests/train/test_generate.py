"""`train.generate`: text as it is made, whole commands on runs and published folders, and every mistake as one line."""

import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from data.tokenizers import SentencePiece, WordPiece, load_tokenizer, train_tokenizer
from data.tokenizers.plain import ByteTokenizer, CharacterTokenizer, WordTokenizer
from model.sampling import Sampling
from train import embed, generate
from train.command import run_command
from train.pretrained import open_any
from train.prompts import ids_of, manner_of
from train.streaming import Pieces
from train.writing import write

ROOT = Path(__file__).parents[1]
TWINS, PUBLISHED = ROOT / "twins", ROOT / "data/published"
TEXT = "Das große Haus — 東京タワー 🗼 naïve, don't stop! \n  Ends  here."


# --- Streaming.


def tokenizers():
    prose = [TEXT, "Don't you (really) mean that? It's 5,000 words."] * 40
    return {
        "bytes": ByteTokenizer(),
        "characters": CharacterTokenizer.train([TEXT]),
        "words": WordTokenizer.train([TEXT]),
        "byte pairs": load_tokenizer(PUBLISHED / "gpt2"),
        "sentence piece": train_tokenizer(SentencePiece(vocab_size=50), prose),
        "wordpiece": train_tokenizer(WordPiece(vocab_size=150), prose),
    }


@pytest.mark.parametrize("name", ["bytes", "characters", "words", "byte pairs", "sentence piece", "wordpiece"])
def test_pieces_are_the_whole_text_and_never_half_a_character(name):
    tokenizer = tokenizers()[name]
    ids = tokenizer.encode(TEXT).tolist()
    for cut in (0, 1, len(ids) // 2):
        draw = random.Random(cut)
        pieces, shown, rest = Pieces(tokenizer, ids[:cut]), [], ids[cut:]
        while rest:
            size = draw.randint(1, 3)
            shown.append(pieces.push(rest[:size]))
            rest = rest[size:]
        shown.append(pieces.push([], last=True))
        assert "".join(shown) == pieces.text
        whole, before = (tokenizer.decode(part) if part else "" for part in (ids, ids[:cut]))
        if not before or whole.startswith(before):
            assert before + pieces.text == whole
        assert "\ufffd" not in "".join(shown) or cut == len(ids) // 2  # which may lie inside a character
        assert len([piece for piece in shown if piece]) > 2


def test_a_stop_string_ends_a_text_wherever_the_tokens_part_it():
    tokenizer, ids = ByteTokenizer(), ByteTokenizer().encode("one two STOP three").tolist()
    for size in (1, 2, 3, 7, 100):
        pieces, shown = Pieces(tokenizer, [], ["never", "STOP"]), ""
        for start in range(0, len(ids), size):
            shown += pieces.push(ids[start : start + size])
            assert "S" not in shown
        assert (shown, pieces.text, pieces.stopped) == ("one two ", "one two ", True)
    pieces = Pieces(tokenizer, [], ["STOP"])
    assert pieces.push(tokenizer.encode("a STO").tolist()) == "a " and pieces.push([], last=True) == "STO"


# --- Commands.

LENGTHS = ("--steps", "4", "--evaluate-every", "4", "--evaluate-rows", "8", "--checkpoint-every", "4")
WAYS = {
    "masked": (),
    "next": ("--objective.name", "next_token", "--objective.opening", "bos"),
    "prefix": ("--objective.name", "prefix_lm"),
    "pairs": ("--objective.name", "sequence_to_sequence", "--data.source", "task:copy/documents=200"),
}
RUNS: dict[str, Path] = {}


@pytest.fixture
def trained(here, tmp_path_factory):
    """trained(name) -> the folder of a run of seconds, trained once."""

    def folder(name):
        if name not in RUNS:
            path = tmp_path_factory.mktemp("runs") / name
            ended = here("--run-dir", path, *LENGTHS, *WAYS[name])
            assert ended.code == 0, ended.errors
            RUNS[name] = path
        return RUNS[name]

    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """command(module, *words) -> (exit code, output, errors), in this process."""

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        try:
            code = run_command(module.main)
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Twins with a vocabulary: GPT-2's of letters, BERT's of a vocab.txt."""
    import tokenizers as library

    folder = tmp_path_factory.mktemp("published")
    for name in ("gpt2", "bert"):
        shutil.copytree(TWINS / name, folder / name)
    letters = ["<|endoftext|>", *map(chr, range(97, 123)), *map(chr, range(65, 91)), " ", ".", ","]
    inner = library.Tokenizer(library.models.WordLevel({letter: n for n, letter in enumerate(letters)}, unk_token="."))
    inner.pre_tokenizer = library.pre_tokenizers.Split("", "isolated")
    inner.decoder = library.decoders.Fuse()
    inner.add_special_tokens(["<|endoftext|>"])
    inner.save(str(folder / "gpt2/tokenizer.json"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "dog", "##s", "."]
    (folder / "bert/vocab.txt").write_text("\n".join(words) + "\n")
    return folder


@pytest.mark.slow
def test_a_run_goes_on_from_a_prompt_and_seeds_repeat(trained, command):
    run = trained("next")
    code, greedy, errors = command(generate, run, "--prompt", "a é", "--max-new-tokens", 5)
    assert code == 0 and greedy.startswith("a é") and greedy.endswith("\n") and errors == ""
    drawn = [
        command(generate, run, "--prompt", "a", "--max-new-tokens", 9, "--top-k", 50, "--seed", n)[1] for n in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    _, several, _ = command(generate, run, "--prompt", "a", "--num-return-sequences", 3, "--max-new-tokens", 4)
    assert [line for line in several.splitlines() if line.startswith("---")] == [f"--- {n} of 3" for n in (1, 2, 3)]
    _, beams, _ = command(
        generate, run, "--prompt", "a", "--num-beams", 3, "--num-return-sequences", 2, "--max-new-tokens", 4
    )
    assert "--- 1 of 2, score -" in beams
    _, chances, _ = command(generate, run, "--prompt", "a", "--max-new-tokens", 3, "--logprobs")
    assert sum(line.lstrip().startswith("-") for line in chances.splitlines()[1:]) >= 1
    assert command(generate, run, "--prompt", "", "--max-new-tokens", 2)[0] == 0  # it was trained behind an opening


@pytest.mark.slow
def test_a_text_ends_with_the_positions_and_says_so(trained, command):
    run = trained("prefix")
    code, _, errors = command(
        generate, run, "--prompt", "twenty bytes of text", "--temperature", 1, "--max-new-tokens", 99
    )
    assert code == 0 and errors in ("", "note: ended at the model's 32 positions, which do not slide\n")
    assert manner_of(open_any(run)).prefix and not manner_of(open_any(trained("next"))).prefix


@pytest.mark.slow
def test_a_terminal_sees_what_a_pipe_gets(trained, command, monkeypatch):
    words = (
        trained("next"),
        "--prompt",
        "ab",
        "--temperature",
        1,
        "--seed",
        3,
        "--max-new-tokens",
        12,
        "--stop",
        "\x00",
    )
    code, piped, _ = command(generate, *words)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert command(generate, *words) == (code, piped, "")


@pytest.mark.slow
def test_an_encoder_decoder_answers_its_source(trained, command):
    code, said, _ = command(generate, trained("pairs"), "--prompt", "abc", "--max-new-tokens", 6)
    assert code == 0 and not said.startswith("abc")
    manner = manner_of(open_any(trained("pairs")))
    assert (manner.closing, manner.stops, manner.start) == ((3,), (3,), 0)


def test_masks_are_filled_in(trained, published, command):
    code, said, _ = command(generate, trained("masked"), "--prompt", "The [MASK] sat <mask>.", "--top-k", 2)
    assert code == 0 and said.splitlines()[0] == "The [MASK] sat <mask>."
    assert len(said.splitlines()) == 5 and "mask 1" in said and "mask 2" in said
    code, said, _ = command(generate, published / "bert", "--prompt", "the [MASK] sat")
    assert code == 0 and len(said.splitlines()) == 6
    opened = open_any(published / "bert")
    ids = np.array([[2, 5, 4, 7, 3]])
    logits = opened.pretrained.outputs(input_ids=ids)["logits"][0, 2, :11]
    best = opened.tokenizer.token(int(logits.argmax()))
    assert said.splitlines()[1].split()[-1] == opened.tokenizer.decode([int(logits.argmax())]).strip() or best in said


def test_a_published_folder_writes_the_published_text(published, command):
    stored = load_file(TWINS / "gpt2/expected.safetensors")
    opened = open_any(published / "gpt2")
    pieces = np.array(opened.tokenizer.pieces)
    for prompt, text in zip(stored["greedy_prompt"], stored["greedy"], strict=True):
        if max(text) < len(pieces):
            ((one,),) = write(opened, ["".join(pieces[prompt])], max_new_tokens=12)
            assert one.text == "".join(pieces[text[5:]]) and one.tokens.tolist() == text[5:].tolist()
    ((one,), (two,)) = write(opened, ["abc", ""], max_new_tokens=4, sampling=Sampling(1.0), seed=2)
    assert (
        ids_of(opened, "", manner_of(opened)).tolist() == [0]
        and len(two.tokens) >= 1
        and one.reason in ("stop", "length")
    )


def test_help_and_mistakes_of_the_command_line_need_no_jax(child, tmp_path):
    for words, code in ((("--help",), 0), ((str(tmp_path), "--prompt", "x"), 2)):
        script = tmp_path / "probe.py"
        script.write_text(
            "import sys\nfrom train import generate\nsys.argv = ['generate', *sys.argv[1:]]\n"
            "try:\n    generate.main()\nexcept SystemExit as end:\n    print('jax' in sys.modules, end.code)\n"
        )
        import subprocess

        done = subprocess.run(
            [sys.executable, script, *words], capture_output=True, text=True, cwd=ROOT.parent, env=_env()
        )
        assert done.stdout.splitlines()[-1] == f"False {code}", done.stderr


def _env():
    import os

    return os.environ | {"PYTHONPATH": str(ROOT.parent)}


MISTAKES = [
    ("next", ("--prompt", "x" * 40), "the prompt has 41 tokens, and the model has 32 positions; shorten it by 9"),
    ("next", (), "which prompt? add --prompt TEXT"),
    ("next", ("--prompt",), "--prompt needs a value"),
    ("next", ("--prompt", "x", "--top-p", "0"), "top_p=0.0 must lie in (0, 1]"),
    ("next", ("--prompt", "x", "--temperature", "-1"), "temperature=-1.0 must be 0"),
    ("next", ("--prompt", "x", "--temperature", "warm"), "--temperature warm: expected a number or None"),
    ("next", ("--prompt", "x", "--min-p", "2"), "min_p=2.0 must lie in [0, 1]"),
    ("next", ("--prompt", "x", "--top-k", "0"), "top_k=0 must be 1 or more"),
    ("next", ("--prompt", "x", "--repetition-penalty", "0"), "repetition_penalty=0.0 must be positive"),
    ("next", ("--prompt", "x", "--max-new-tokens", "0"), "--max-new-tokens 0 must be at least 1"),
    ("next", ("--prompt", "x", "--num-beams", "0"), "--num-beams 0 must be at least 1"),
    ("next", ("--prompt", "x", "--num-beams", "2", "--top-k", "3"), "--top-k draws, and --num-beams searches"),
    ("next", ("--prompt", "x", "--num-beams", "2", "--temperature", "0.5"), "--temperature draws, and --num-beams"),
    ("next", ("--prompt", "x", "--num-beams", "2", "--num-return-sequences", "3"), "are more than --num-beams 2"),
    ("next", ("--prompt", "x", "--length-penalty", "2"), "--length-penalty belongs to a beam search"),
    ("next", ("--prompt", "x", "--temperature", "0", "--top-k", "3"), "top_k means nothing without a temperature"),
    ("next", ("--prompt", "x", "--num-return-sequences", "2", "--temperature", "0"), "writes the same text each time"),
    ("next", ("--prompt", "x", "--temprature", "1"), "did you mean --temperature?"),
    ("next", ("--prompt", "two", "words"), "unexpected argument 'words'; quote a text that has spaces"),
    ("prefix", ("--prompt", ""), "the prompt is empty, and the vocabulary has no token that begins a text"),
    ("pairs", ("--prompt", ""), "the prompt is empty, and this model writes from a source"),
    ("masked", ("--prompt", "no mask"), "the prompt has none; put [MASK] where a word is missing"),
    ("masked", ("--prompt", "[MASK]", "--temperature", "1"), "--temperature means nothing to a masked language model"),
    ("masked", ("--prompt", "[MASK]" + "x" * 40), "and the model has 32 positions; shorten it by 11"),
]


@pytest.mark.parametrize(
    ("name", "words", "error"),
    [
        pytest.param(name, *rest, marks=pytest.mark.slow if name in ("prefix", "pairs") else ())  # runs of their own
        for name, *rest in MISTAKES
    ],
    ids=[f"{name} {' '.join(w)[:40]}" for name, w, _ in MISTAKES],
)
def test_bad_input_is_one_line_with_the_remedy(name, words, error, trained, command):
    code, said, errors = command(generate, trained(name), *words)
    assert (code, said) == (2, "") and error in errors and errors.count("\n") == 1 and errors.startswith("error: ")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (TWINS / "vit", "vit is a VisionTransformer, which writes no text"),
        (TWINS / "gpt2", "gpt2 has no tokenizer; put its tokenizer.json"),
        (TWINS, "is neither a run folder nor a published one"),
        (TWINS / "nowhere", "there is no folder"),
    ],
    ids=str,
)
def test_folders_that_write_nothing_are_one_line(path, error, command):
    for module, words in ((generate, ("--prompt", "x")), (embed, ("--text", "x"))):
        code, said, errors = command(module, path, *words)
        expected = error.replace("writes no text", "reads no text") if module is embed else error
        assert (code, said) == (2, "") and expected in errors and errors.count("\n") == 1


def test_an_encoder_without_a_head_points_to_its_embeddings(published, command, tmp_path):
    from safetensors.numpy import save_file

    fields = json.loads((published / "bert/config.json").read_text()) | {"architectures": ["BertModel"]}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    tensors = load_file(published / "bert/model.safetensors")
    kept = {key.removeprefix("bert."): value for key, value in tensors.items() if not key.startswith("cls.")}
    save_file(kept, tmp_path / "model.safetensors")
    shutil.copyfile(published / "bert/vocab.txt", tmp_path / "vocab.txt")
    code, _, errors = command(generate, tmp_path, "--prompt", "the [MASK]")
    assert code == 2 and "is an encoder without a head for tokens" in errors and "train.embed" in errors
    code, said, _ = command(embed, tmp_path, "--text", "the cat")
    assert code == 0 and len(json.loads(said)["embedding"]) == fields["hidden_size"]
