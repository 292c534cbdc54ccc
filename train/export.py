"""A run as a folder that transformers opens: python -m train.export RUN_DIR --to DIR [--step N] [--family NAME] [--adapter]

Writes config.json, the weights as safetensors, and the tokenizer's files. What a run with --peft trained is merged into the
weights, or with --adapter written by itself, as peft opens it. What no published family can express is refused, every field
that stands in the way by its name; nothing is written then.
"""

import argparse
from pathlib import Path
from typing import Any

from data.cache import discard, user_path
from data.errors import named
from train.command import InputError, Parser, configure_jax, start
from train.registry import no_model
from train.signals import released


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser(prog="python -m train.export", description=__doc__)
    parser.add_argument("run", metavar="RUN_DIR", help="the run folder")
    parser.add_argument("--to", metavar="DIR", required=True, help="a new folder, or an empty one")
    parser.add_argument("--step", metavar="N", type=int, help="the checkpoint of this step instead of the newest")
    parser.add_argument(
        "--family",
        metavar="NAME",
        help="the model_type to publish it as; the first that can say it where none is named",
    )
    parser.add_argument(
        "--adapter",
        action="store_true",
        help="only what --peft trained, as a folder for peft, instead of the whole model",
    )
    parser.add_argument("--base", metavar="DIR", help="the base of a run with --peft, if it has been moved")
    options = parser.parse_args(words)
    options.run, options.to = user_path(options.run), user_path(options.to, "name another with --to")
    if options.adapter and options.family:
        raise InputError("--adapter has the names of the model that it is put on; leave --family out")
    if not (options.run / "config.json").is_file():
        raise InputError(no_model(options.run))
    configure_jax()
    from model.hub import check_new, temporary_of
    from train.pretrained import is_published

    if is_published(options.run):
        raise InputError(f"{options.run} is a published folder already; give the folder of a run")
    check_new(options.to)
    temporary, gone = temporary_of(options.to), temporary_of(options.to, "gone-")
    with named(options.to), released(lambda: discard(temporary, gone)):
        return export(options)


def export(options: argparse.Namespace) -> int:
    """Write the folder, and say what lies in it."""
    from model.foreign import read_json
    from model.hub import CONFIG
    from model.published import HubError
    from train.pretrained import save
    from train.run import Run
    from train.state import parameter_count

    run = Run.open(options.run, step=options.step, base=options.base, strict=True)
    if options.adapter:
        from train.adapters import save_run_adapter

        return tell_adapter(run, save_run_adapter(run, options.to))
    folder = save(run, options.to, family=options.family)
    fields = read_json(folder / CONFIG, HubError)
    (kind,) = fields["architectures"]
    print(
        f"{run.folder.path} after step {run.step}, {parameter_count(run.params):,} parameters, "
        f"is the {kind} of {fields['model_type']} in {folder}:"
    )
    list_files(folder)
    print("where transformers is installed it opens with")
    print(f"  from transformers import AutoTokenizer, {kind}")
    print(
        f"  model, tokenizer = ({kind}.from_pretrained({str(folder)!r}), AutoTokenizer.from_pretrained({str(folder)!r}))"
    )
    return 0


def tell_adapter(run: Any, folder: Path) -> int:
    """Say what was written, and how it is opened."""
    from model.foreign import read_json

    fields = read_json(folder / "adapter_config.json", InputError)
    kept = fields["modules_to_save"]
    beside = f" with {', '.join(kept)}" if kept else ""
    print(f"{run.folder.path} after step {run.step}: the {fields['peft_type']} adapter{beside} in {folder}:")
    list_files(folder)
    base = fields["base_model_name_or_path"]
    print("where peft is installed it opens on the model that the run began from, opened by transformers, with")
    print("  from peft import PeftModel")
    print(f"  model = PeftModel.from_pretrained(model, {str(folder)!r})")
    if base is None:
        print("that model is none published: python -m train.export makes a folder of it, if it is a run")
    return 0


def list_files(folder: Path) -> None:
    """The files of a folder with their sizes."""
    for path in sorted(folder.iterdir()):
        print(f"  {path.name:24} {path.stat().st_size:13,} bytes")


if __name__ == "__main__":
    start(main)
