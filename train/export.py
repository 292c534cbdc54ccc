"""A run as a folder that transformers opens: python -m train.export RUN_DIR --to DIR [--step N] [--family NAME]

Writes config.json, the weights as safetensors, and the tokenizer's files. What no published family can express is refused,
every field that stands in the way by its name; nothing is written then.
"""

import argparse
import sys
from pathlib import Path

from train.command import InputError, configure_jax, run_command


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN_DIR", type=Path, help="the run folder")
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="a new folder, or an empty one")
    parser.add_argument("--step", metavar="N", type=int, help="the checkpoint of this step instead of the newest")
    parser.add_argument(
        "--family",
        metavar="NAME",
        help="the model_type to publish it as; the first that can say it where none is named",
    )
    options = parser.parse_args(words)
    if not (options.run / "config.json").is_file():
        raise InputError(f"{options.run} is not a run folder (it has no config.json); give the folder of a run")
    configure_jax()
    from model.hub import CONFIG, check_new, read_json
    from train.pretrained import is_published, save
    from train.run import Run
    from train.state import parameter_count

    if is_published(options.run):
        raise InputError(f"{options.run} is a published folder already; give the folder of a run")
    check_new(options.to)
    run = Run.open(options.run, step=options.step)
    folder = save(run, options.to, family=options.family)
    fields = read_json(folder / CONFIG)
    (kind,) = fields["architectures"]
    print(
        f"{run.folder.path} after step {run.step}, {parameter_count(run.params):,} parameters, "
        f"is the {kind} of {fields['model_type']} in {folder}:"
    )
    for path in sorted(folder.iterdir()):
        print(f"  {path.name:24} {path.stat().st_size:13,} bytes")
    print("where transformers is installed it opens with")
    print(f"  from transformers import AutoTokenizer, {kind}")
    print(
        f"  model, tokenizer = ({kind}.from_pretrained({str(folder)!r}), AutoTokenizer.from_pretrained({str(folder)!r}))"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
