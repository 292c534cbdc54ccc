"""The files that are damaged, as we write them, and what reads them; as a program it reads folders that are named to it.

A kind of files is a function that writes an original into a folder, and one that reads a folder as a user's command would.
"""

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

TEXT = "Return a new window of the size 12; the lines above it are kept, and so are those below it. "
ROOM = 3 << 30  # bytes of address space that a worker may take beyond what it has when it begins


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        write: writes the original into a new folder.
        read: reads such a folder; an error that has an exit code is an answer.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], Any]


def write_published(family: str, folder: Path) -> None:
    """A tiny published folder with its tokenizer, its weights in two files where it is of Llama."""
    from flax import nnx

    from model.decoder import LanguageModel
    from model.encoder import MaskedLanguageModel
    from model.families import bert, gpt2, llama
    from model.hub import INDEX, WEIGHTS, Tensors, write_tensors
    from train.pretrained import save

    tokenizer = trained("bytes" if family != "bert" else "words")
    small: dict[str, Any] = {"hidden_size": 16, "num_layers": 2}
    if family == "bert":
        from model.attention import MultiHead
        from model.mlp import PlainMLP

        config = bert.config("tiny", vocab_size=tokenizer.vocab_size, attention=MultiHead(2), mlp=PlainMLP(24), **small)
        model: Any = MaskedLanguageModel(config, rngs=nnx.Rngs(0))
    elif family == "gpt2":
        from model.attention import MultiHead
        from model.mlp import PlainMLP

        parts = {"attention": MultiHead(2), "mlp": PlainMLP(24, activation="gelu_tanh")}
        model = LanguageModel(
            gpt2.config("tiny", vocab_size=tokenizer.vocab_size, max_length=64, **parts, **small), rngs=nnx.Rngs(0)
        )
    else:
        from model.attention import MultiHead
        from model.mlp import GatedMLP

        parts = {"attention": MultiHead(4, num_kv_heads=2, bias=False), "mlp": GatedMLP(24)}
        size = next(iter(llama.SIZES))
        model = LanguageModel(llama.config(size, vocab_size=tokenizer.vocab_size, **parts, **small), rngs=nnx.Rngs(0))
    save(model, folder, tokenizer=tokenizer, family=family)
    if family == "llama":
        tensors = Tensors(folder)
        held = [(name, tensors.read(name, ())) for name in tensors]
        (folder / WEIGHTS).unlink()
        write_tensors(folder, held, file_bytes=12_000)
        assert (folder / INDEX).is_file()


def read_published(folder: Path) -> Any:
    """A published folder opened, with its weights and its tokenizer."""
    from train.pretrained import load

    opened = load(folder)
    if opened.tokenizer is not None:
        use(opened.tokenizer)
    return opened


def trained(kind: str) -> Any:
    """A tokenizer trained on a few lines."""
    from data.tokenizers import ByteBPE, Characters, SentencePiece, WordPiece, train_tokenizer

    choices = {
        "words": WordPiece(vocab_size=90),
        "bytes": ByteBPE(vocab_size=280),
        "pieces": SentencePiece(vocab_size=47),
        "characters": Characters(),
    }
    return train_tokenizer(choices[kind], [TEXT * 5, TEXT.lower(), "naïve Café 語言 42"])


def write_tokenizer(kind: str, folder: Path) -> None:
    """The files of a tokenizer; of byte pairs also as vocab.json and merges.txt alone."""
    tokenizer = trained("bytes" if kind == "merges" else kind)
    tokenizer.save(folder)
    if kind == "merges":
        parts = json.loads((folder / "tokenizer.json").read_text())["model"]
        (folder / "vocab.json").write_text(json.dumps(parts["vocab"]))
        pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in parts["merges"]]
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n")
        (folder / "tokenizer.json").unlink()
    if not (folder / "tokenizer_config.json").exists():
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "", "model_max_length": 512}')


def read_tokenizer(folder: Path) -> Any:
    """A tokenizer opened and used."""
    from data.tokenizers import load_tokenizer

    return use(load_tokenizer(folder))


def use(tokenizer: Any) -> Any:
    """What a command asks of a tokenizer."""
    texts = [TEXT, "", "語言 \U0001f642 [MASK]", "a"]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        tokenizer.decode(ids)
        tokenizer.encode(text, special_tokens=True)
    tokenizer.encode_pair(TEXT, "a")
    frames = tokenizer.frame(1), tokenizer.frame(2)
    tokenizer.locate_batch(texts)
    return frames, tokenizer.words, tokenizer.byte_counts, tokenizer.fingerprint


def base() -> Any:
    """The model under adapters, made once."""
    from flax import nnx

    from model.attention import MultiHead
    from model.decoder import LanguageModel
    from model.families import gpt2
    from model.mlp import PlainMLP

    if not BASE:
        parts: dict[str, Any] = {
            "attention": MultiHead(2),
            "mlp": PlainMLP(24, activation="gelu_tanh"),
            "hidden_size": 16,
        }
        BASE.append(
            LanguageModel(gpt2.config("tiny", vocab_size=50, max_length=32, num_layers=2, **parts), rngs=nnx.Rngs(0))
        )
    return BASE[0]


BASE: list[Any] = []


def write_adapter(folder: Path) -> None:
    """LoRA as `peft` writes it."""
    from flax import nnx

    from model.peft import LoRA, attach, save_adapter

    choice = LoRA(rank=2, alpha=4.0, sites="*.attention.query,*.mlp.up")
    save_adapter(attach(base(), choice, nnx.Rngs(0)), choice, folder, base="gpt2")
    path = folder / "adapter_config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"alpha_pattern": {r"h\.\d+\.attn\.c_attn": 8, "mlp.c_fc": 3}}))


def read_adapter(folder: Path) -> Any:
    """An adapter attached to its model."""
    from model.peft import load_adapter

    return load_adapter(base(), folder)


def write_run(folder: Path) -> None:
    """A run of two steps."""
    from data.config import TextData
    from data.sources import parse_source
    from data.tokenizers.choices import Characters
    from model.attention import MultiHead
    from model.families import bert
    from model.mlp import PlainMLP
    from train.config import Experiment
    from train.objectives import MaskedLM
    from train.optimizers import AdamW
    from train.session import train

    folder.parent.mkdir(exist_ok=True)
    text = folder.with_name(folder.name + ".txt")
    text.write_text("\n\n".join(f"{TEXT}\nThe number {number} is next." for number in range(60)))
    data = TextData(parse_source(f"files:{text}"), Characters(), row_length=32, batch_size=8)
    shape = bert.config("tiny", vocab_size=100, hidden_size=16, num_layers=1, attention=MultiHead(2), mlp=PlainMLP(24))
    experiment = Experiment(data, shape, MaskedLM(), AdamW(), steps=2, compute_dtype="float32")
    train(experiment, folder, workers=0)
    for path in (folder / ".lock", folder / "report.html"):
        path.unlink(missing_ok=True)


def read_run(folder: Path) -> Any:
    """A run folder opened, its page written, and what it held out read."""
    from train.predictions import Predictions
    from train.record import Record
    from train.report import render
    from train.run import Run, RunFolder

    record = Record.read(folder)
    page = render(record), record.is_done, record.last_step, Predictions.read(folder), RunFolder(folder).floors()
    run = Run.open(folder)
    return page, run.held_out, use(run.tokenizer)


def cached() -> Any:
    """What is made ready of a small text in the folder where one stands."""
    from data.config import TextData
    from data.sources import parse_source
    from data.tokenizers.choices import Characters

    return TextData(parse_source("files:text.txt"), Characters(), row_length=16, batch_size=2)


def write_cache(folder: Path) -> None:
    """A text, and a cache folder with what was made ready of it."""
    folder.mkdir(parents=True)
    (folder / "text.txt").write_text("\n\n".join(f"{TEXT} {number}" for number in range(40)))
    read_cache(folder)


def read_cache(folder: Path) -> Any:
    """What was made ready, opened and used: a damaged entry is made again."""
    from data.prepared import open_prepared

    before = os.environ["LOUPE_CACHE"]
    os.environ["LOUPE_CACHE"] = str(folder / "cache")
    try:
        with contextlib.chdir(folder):
            prepared = open_prepared(cached(), say=lambda line: None)
            ids = [
                documents.ids(number)
                for documents in (prepared.train, prepared.valid)
                for number in range(len(documents))
            ]
            return ids, prepared.valid_texts(), prepared.unigram_counts, prepared.describe()
    finally:
        os.environ["LOUPE_CACHE"] = before


KINDS: dict[str, Kind] = {
    "gpt2": Kind(lambda folder: write_published("gpt2", folder), read_published),
    "bert": Kind(lambda folder: write_published("bert", folder), read_published),
    "llama": Kind(lambda folder: write_published("llama", folder), read_published),
    **{
        kind: Kind(lambda folder, kind=kind: write_tokenizer(kind, folder), read_tokenizer)
        for kind in ("words", "bytes", "merges", "pieces", "characters")
    },
    "adapter": Kind(write_adapter, read_adapter),
    "cache": Kind(write_cache, read_cache),
    "run": Kind(write_run, read_run),
}


def judge(kind: str, folder: Path) -> dict[str, Any]:
    """How the reading of a folder ended: `how` is ok, refused or what failed; `seconds` of the processor; `said` in words."""
    from data.errors import DataError
    from data.foreign import LINE

    begin, how, said = time.process_time(), "ok", ""
    try:
        KINDS[kind].read(folder)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = str(error)
        named = isinstance(error, ValueError | RuntimeError) and (
            isinstance(error, DataError) or hasattr(error, "exit_code")
        )
        how = "refused" if named else f"traceback {type(error).__name__}"
        if named and (len(said) > LINE or not all(letter.isprintable() or letter in "\u200c\u200d" for letter in said)):
            how = "not one short line"
        if not named:
            frames = []
            at = error.__traceback__
            while at is not None:
                frames.append(f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}")
                at = at.tb_next
            said = f"{said[:300]} [{' '.join(frames[-4:])}]"
    return {"how": how, "said": said, "seconds": time.process_time() - begin}


def resident(name: str) -> float:
    """Mebibytes of memory that this process has, VmRSS, or has had at most, VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def work(root: Path, kinds: list[str], answers: int) -> None:
    """Write the originals into `root`, read each once, and then every folder that a line of the input names, as KIND FOLDER."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    os.environ.setdefault("LOUPE_CACHE", str(root / "cache"))
    with open(answers, "w", buffering=1) as file:
        for kind in kinds:
            original = root / "originals" / kind
            if not original.exists():
                KINDS[kind].write(original)
            if (found := judge(kind, original))["how"] != "ok":
                raise SystemExit(f"the original of {kind} is not read: {found}")
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
        file.write(json.dumps({"ready": True}) + "\n")
        for line in sys.stdin:
            kind, folder = line.rstrip("\n").split(" ", 1)
            Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this file
            before = resident("VmRSS")
            found = judge(kind, Path(folder))
            file.write(json.dumps(found | {"mebibytes": resident("VmHWM") - before}) + "\n")


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3]))
