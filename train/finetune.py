"""Fine-tune on a task: python -m train.finetune --exp=TASK --init=RUN_OR_FOLDER [--peft lora] [--steps N] [--field VALUE ...]

`--init` is a run of train.pretrain, a published folder, or the name of one on the Hugging Face hub; it decides model and
vocabulary. Repeated on the same run folder it goes on where it stopped, bit for bit. `--seeds`, `--sweep` and `--search` train
several runs into folders below it, and compare them.
"""

import dataclasses
import sys
import time

from train import cli
from train.command import InputError, configure_jax, start
from train.memory import keep_freed_memory
from train.optimizers import Prodigy
from train.options import FinetuneOptions

SHORT = {"freeze": "tuning.freeze", "layer_decay": "tuning.layer_decay"}  # fields with a shorter name
PEAK = "optimizer.schedule.peak"
PEFT_RATE = 10.0  # few parameters that start at zero want about ten times the rate (arXiv:2106.09685, appendix D)


def main() -> int:
    """The command; returns its exit code."""
    started = time.perf_counter()
    keep_freed_memory()
    request = settled(cli.parse(sys.argv[1:], command="finetune", options=FinetuneOptions, short=SHORT))
    check_several(request)
    if request.options.verify_resume:
        from train.verify import verify_resume

        return verify_resume(request)
    configure_jax()
    if request.options.seeds or request.options.sweep:
        from train.several import train_several

        return train_several(request, started)
    if request.options.search:
        from train.search import train_search

        return train_search(request, started)
    from train.session import train_run

    return train_run(request, started)


def check_several(request: cli.Request) -> None:
    """InputError for options that say what runs are to be trained, and take each other's place."""
    options, given = request.options, request.given
    several = [name for name in ("seeds", "sweep", "search") if getattr(options, name)]
    if options.verify_resume and several:
        raise InputError(f"--verify-resume is of one run, and --{several[0]} trains several; leave one of them out")
    if "trials" in given and not options.search:
        raise InputError("--trials counts the runs of --search; give that too, or leave it out")
    swept = {word.removeprefix("--").partition("=")[0].replace("-", "_") for word in options.sweep.split()}
    searched = {word.removeprefix("--").partition("=")[0].replace("-", "_") for word in options.search.split()}
    if options.seeds and "seed" in swept:
        raise InputError("--seeds and --sweep both say which seeds; leave seed out of one of them")
    if "seed" in given and "," in options.seeds:
        raise InputError("--seed and --seeds both say which seeds; leave one of them out")
    if twice := sorted((swept | searched) & given):
        raise InputError(f"--{twice[0]} has one value, and --{'sweep' if twice[0] in swept else 'search'} gives it several; "
                         "leave one of them out")  # fmt: skip


def settled(request: cli.Request) -> cli.Request:
    """The request with what one flag says about another: steps against epochs, a rate for few parameters."""
    experiment, given = request.experiment, request.given
    if "steps" in given:
        if "epochs" in given:
            raise InputError("--steps and --epochs say the same; give one of them")
        experiment = dataclasses.replace(experiment, epochs=None)
    if (
        experiment.peft is not None
        and PEAK not in given
        and not isinstance(experiment.optimizer, Prodigy)  # which finds its rate
        and not any(name.startswith("optimizer.name") for name in given)
    ):
        schedule = dataclasses.replace(
            experiment.optimizer.schedule, peak=PEFT_RATE * experiment.optimizer.schedule.peak
        )
        experiment = dataclasses.replace(
            experiment, optimizer=dataclasses.replace(experiment.optimizer, schedule=schedule)
        )
        print(
            f"--peft: the learning rate is {schedule.peak:g}, {PEFT_RATE:g} times that of all parameters; --{PEAK} sets it"
        )
    return dataclasses.replace(request, experiment=experiment)


if __name__ == "__main__":
    start(main)
