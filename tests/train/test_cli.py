"""The command line: typed overrides, swapped choices, and one clear line for everything that can be mistyped."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data.sources import Files, Synthetic
from data.tokenizers.choices import SentencePiece, TokenizerJSON
from model.config import to_json
from model.positions import SinusoidalPositions
from train import cli, registry
from train.optimizers import SGD, AdamW, Lion
from train.options import RunOptions
from train.schedules import WarmupCosine

ROOT = Path(__file__).parents[2]
SMALL = registry.load("bert_small").experiment

WRONG = [
    ([], "which experiment? python -m train.pretrain --exp=NAME; there are bert_base"),
    (["--exp"], "which experiment?"),
    (["--ex=bert_tiny"], "there is no option --ex; did you mean --exp?"),
    (["--experiment", "bert_tiny"], "there is no option --experiment; did you mean --exp?"),
    (["bert_small"], "unexpected argument 'bert_small'; did you mean --exp=bert_small?"),
    (["--exp=bert_smal"], "there is no experiment 'bert_smal'; did you mean bert_small?"),
    (["--exp=zzz"], "there is no experiment 'zzz'; there are bert_base, bert_small"),
    (["--exp=no/such.py"], "--exp no/such.py is not there"),
    (["--exp=tests/train"], "--exp tests/train is a folder without config.json"),
    (["--optimizer.lrr", "1"], "there is no field --optimizer.lrr; did you mean --optimizer.schedule.peak"),
    (["--optimizer.learning_rate=1"], "did you mean --optimizer.schedule.peak (default 0.001)?"),
    (["--batch-size", "3"], "did you mean --data.batch_size (default 32)?"),
    (["--modl.hidden_size", "3"], "did you mean --model.hidden_size (default 512)?"),
    (["--optimizer.schedule.peek", "3"], "did you mean --optimizer.schedule.peak"),
    (["--optimizer.nme", "lion"], "did you mean --optimizer.name?"),
    (["--wrokers", "2"], "did you mean --workers?"),
    (["--run_dri", "x"], "did you mean --run-dir?"),
    (["--dataset", "c4"], "did you mean --data.source?"),
    (["--qqqqqq", "1"], "there is no field --qqqqqq; --help shows them all"),
    (
        ["--optimizer.d0", "1e-5"],
        "--optimizer.d0 is a field of prodigy (optimizer is muon); add --optim",
    ),
    (["--optimizer.name", "lionn"], "--optimizer.name lionn: there is no such choice; did you mean lion?"),
    (["--optimizer.name"], "--optimizer.name needs one of adam_w, muon, lion, lamb, "),
    (["--model.norm", "batch"], "there are layer_norm, rms_norm"),
    (["--data", "5"], "--data 5: there is no such choice; there are text_data, task_data"),
    (["--steps", "ten"], "--steps ten: expected a whole number (default 350)"),
    (["--steps", "1.5"], "--steps 1.5: expected a whole number (default 350)"),
    (["--steps", "inf"], "--steps inf: expected a whole number"),
    (["--steps="], "--steps '': expected a whole number"),
    (["--steps"], "--steps needs a value: a whole number"),
    (["--steps", "0"], "steps=0 must be at least 1"),
    (["--seed", "-1"], "seed=-1 must lie in"),
    (["--optimizer.schedule.peak", "big"], "--optimizer.schedule.peak big: expected a number (default 0.001)"),
    (["--optimizer.schedule.peak", "nan"], "optimizer.schedule.peak=nan must be a positive number"),
    (["--optimizer.clip_norm", "x"], "--optimizer.clip_norm x: expected a number or None (default 1.0)"),
    (["--compute_dtype", "fp16"], "expected one of auto, float32, bfloat16 (default auto)"),
    (["--objective.next_sentence", "maybe"], "expected True or False (default True)"),
    (["--model.hidden_size", "500"], "model.hidden_size=500 is not a multiple of num_heads=8"),
    (["--data.batch_size=10", "--accumulate=3"], "data.batch_size=10 is not a multiple of accumulate=3; use 1, 2, 5"),
    (["--model.vocab_size", "4096"], "the tokenizer decides it; set --data.tokenizer.vocab_size and leave it out"),
    (["--data.source", "pyton_docs"], "unknown source 'pyton_docs'; did you mean python_docs?"),
    (["--mesh", "data=two"], "'data=two' is not AXIS=SIZE with AXIS one of data, fsdp, tensor"),
    (["--track", "wnadb"], "'wnadb' is not one of wandb, tensorboard"),
    (["--profile", "15:10"], "profile=15:10 is not FIRST:LAST"),
    (["--keep", "all"], "--keep all: expected one of log or None"),
    (["--workers", "-1"], "workers=-1 must be at least 0"),
    (["extra"], "unexpected argument 'extra'"),
    (["-x"], "unexpected '-x'"),
]


def request(*words: str) -> cli.Request:
    return cli.parse(["--exp=bert_small", *words], command="pretrain")


def refusal(capsys, argv: list[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.parse(argv, command="pretrain")
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


def printed(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.parse(argv, command="pretrain")
    assert not stopped.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"), WRONG, ids=lambda item: " ".join(item) if isinstance(item, list) else ""
)
def test_wrong_input_gets_one_line_and_exit_code_2(words, expected, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    named = not words or words[0].startswith("--ex") or words == ["bert_small"]
    assert expected in refusal(capsys, words if named else ["--exp=bert_small", *words])


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--steps 1e4", "steps", 10_000),
        ("--steps 100_000", "steps", 100_000),
        ("--optimizer.schedule.peak 3e-4", "optimizer.schedule.peak", 3e-4),
        ("--optimizer.schedule.peak=3e-4", "optimizer.schedule.peak", 3e-4),
        ("optimizer.schedule.peak=3e-4", "optimizer.schedule.peak", 3e-4),
        ("--optimizer.weight-decay 0.1", "optimizer.weight_decay", 0.1),
        ("--optimizer.weight_decay 0.1", "optimizer.weight_decay", 0.1),
        ("--optimizer.clip-norm none", "optimizer.clip_norm", None),
        ("--objective.next-sentence false", "objective.next_sentence", False),
        ("--objective.next_sentence False --objective.next_sentence", "objective.next_sentence", True),
        ("--model.norm_placement pre", "model.norm_placement", "pre"),
        ("--data.source synthetic:50", "data.source", Synthetic(50)),
        ("--data.source files:my/*.txt", "data.source", Files("my/*.txt")),
        ("--data.source files:a.txt --data.source.blank_lines False", "data.source", Files("a.txt", blank_lines=False)),
        (
            "--model.positions.name sinusoidal --model.initializer.name truncated_normal",
            "model.positions",
            SinusoidalPositions(),
        ),
        (
            "--data.tokenizer.name tokenizer_json --data.tokenizer.path a.json",
            "data.tokenizer",
            TokenizerJSON("a.json"),
        ),
        ("--steps 5 --steps 6", "steps", 6),
    ],
)
def test_overrides_are_typed(words, field, value):
    asked = request(*words.split())
    found = asked.experiment
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)
    assert asked.base == SMALL


def test_swapping_a_choice_keeps_the_fields_that_mean_the_same_in_both():
    plain = request().experiment.optimizer
    lion = request("--optimizer.name", "lion").experiment.optimizer
    assert lion == Lion(schedule=dataclasses.replace(plain.schedule, peak=Lion().schedule.peak), clip_norm=1.0)
    assert request("--optimizer", "Lion").experiment.optimizer == lion
    assert request("--optimizer.name", "muon").experiment.optimizer == plain
    adam = AdamW(schedule=plain.schedule, b2=0.98, weight_decay=0.01, clip_norm=1.0)
    assert request("--optimizer.name", "adamw").experiment.optimizer == adam
    sgd = request("--optimizer.momentum", "0.8", "--optimizer.name", "sgd").experiment.optimizer
    assert (
        isinstance(sgd, SGD) and sgd.momentum == 0.8 and sgd.schedule == dataclasses.replace(plain.schedule, peak=0.1)
    )
    cosine = request("--optimizer.schedule.name", "warmup_cosine", "--optimizer.schedule.final", "0.1").experiment
    schedule = WarmupCosine(peak=1e-3, warmup_steps=20, final=0.1)
    assert cosine.optimizer == dataclasses.replace(plain, schedule=schedule)
    piece = request("--data.tokenizer.name", "sentence_piece", "--data.tokenizer.kind=bpe").experiment.data.tokenizer
    assert piece == SentencePiece(8_192, kind="bpe")


def test_the_vocabulary_of_the_model_follows_the_tokenizer():
    assert request("--data.tokenizer.vocab_size", "4096").experiment.model.vocab_size == 4_096
    both = request("--data.tokenizer.vocab_size", "4096", "--model.vocab_size", "4096").experiment
    assert both.model.vocab_size == 4_096


def test_options_and_what_was_given():
    words = "--run-dir /tmp/x y --mesh data=2,fsdp=2 --workers 0 --track wandb,tensorboard --profile 10:15 --keep log"
    words = words.replace("x y", "x") + " --keep-every 500 --init runs/a --verify-resume --steps 7"
    asked = request(*words.split())
    options = asked.options
    assert (options.run_dir, options.mesh, options.workers, options.init) == ("/tmp/x", "data=2,fsdp=2", 0, "runs/a")
    assert options.trackers == ("wandb", "tensorboard") and options.profile_steps == (10, 15)
    assert (options.keep, options.keep_every, options.verify_resume) == ("log", 500, True)
    assert {"steps", "run_dir", "keep_every"} < asked.given and "seed" not in asked.given
    assert request().options == RunOptions(run_dir="runs/bert_small")


def test_printed_flags_give_the_experiment_back(capsys, monkeypatch):
    words = ["--exp=bert_small", "--optimizer.name", "lion", "--data.source", "files:a b/*.txt", "--steps", "9"]
    words += ["--model.positions.name=sinusoidal", "--model.initializer.name=truncated_normal"]
    words += ["--optimizer.clip_norm=None", "--data.tokenizer.vocab_size=4096"]
    text = printed(capsys, *words, "--print-config")
    assert "# optimizer.name: was muon, now lion\n" in text
    flags = shlex.split(text[text.index("python -m") :].replace("\\\n", " "))[3:]
    assert cli.parse(flags, command="pretrain").experiment == cli.parse(words, command="pretrain").experiment


def test_printed_json_is_an_experiment_of_one_s_own(capsys, tmp_path):
    text = printed(capsys, "--exp=bert_tiny", "--steps", "9", "--print-config", "json")
    (tmp_path / "mine.json").write_text(text)
    asked = cli.parse([f"--exp={tmp_path}/mine.json"], command="pretrain")
    assert asked.name == "mine" and asked.experiment == request_tiny(steps=9)


def request_tiny(**fields):
    return dataclasses.replace(registry.load("bert_tiny").experiment, **fields)


def test_diff(capsys):
    assert printed(capsys, "--exp=bert_small", "--diff") == "bert_small as declared\n"
    assert printed(capsys, "--exp=bert_small", "--diff", "--steps=3") == "steps: was 350, now 3\n"


def test_help_shows_every_field_and_the_swapped_choice(capsys):
    text = printed(capsys, "--exp=bert_small", "--optimizer.name", "sgd", "--help")
    for word in ("--optimizer.momentum", "--optimizer.schedule.peak", "--data.source WORD", "--run-dir", "Departs:"):
        assert word in text
    assert "--optimizer.name {adam_w,muon,lion,lamb," in text and "--optimizer.b1" not in text


OWN = "from train.registry import load\nimport dataclasses\nbase = load('bert_tiny').experiment\n"


def test_a_file_of_one_s_own(tmp_path):
    (tmp_path / "beside.py").write_text("STEPS = 12\n")
    body = "import beside\nexperiment = dataclasses.replace(base, steps=beside.STEPS)\n"
    (tmp_path / "my-own.py").write_text(OWN + body)
    asked = cli.parse([f"--exp={tmp_path}/my-own.py", "--seed", "3"], command="pretrain")
    assert (asked.name, asked.options.run_dir) == ("my_own", "runs/my_own")
    assert asked.experiment == request_tiny(steps=12, seed=3)


def test_a_file_that_was_changed_within_a_second_is_read_anew(tmp_path, monkeypatch):
    """Python takes cached bytecode for a text of the same length and second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "quick.py"
    for steps in (11, 12):
        path.write_text(OWN + f"experiment = dataclasses.replace(base, steps={steps})\n")
        os.utime(path, (1e9, 1e9))
        assert cli.parse([f"--exp={path}"], command="pretrain").experiment.steps == steps


def test_a_file_of_one_s_own_with_an_optimizer_of_one_s_own(tmp_path):
    body = (
        "from train.optimizers import AdamW\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Mine(AdamW):\n    twist: float = 1.0\n"
        "experiment = dataclasses.replace(base, optimizer=Mine())\n"
    )
    (tmp_path / "twisted.py").write_text(OWN + body)
    asked = cli.parse([f"--exp={tmp_path}/twisted.py", "--optimizer.twist", "2"], command="pretrain")
    assert asked.experiment.optimizer.twist == 2.0


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("broken.py", "x = 1\ndef f(:\n", "broken.py, line 2: SyntaxError: "),
        (
            "absent.py",
            "\nimport no_such_package\n",
            "absent.py, line 2: ModuleNotFoundError: No module named 'no_such_p",
        ),
        ("raises.py", OWN + "dataclasses.replace(base, steps=0)\n", "raises.py, line 4: ValueError: steps=0 must be"),
        ("empty.py", "", "empty.py declares no experiment (it has no 'experiment'); write experiment = Experiment("),
        ("other.py", "experiment = {}\n", "other.py declares no experiment (its 'experiment' is a dict)"),
        ("bad.json", "{", "bad.json is not JSON (Expecting property name"),
        ("field.json", '{"stesp": 3}', "field.json: Experiment has no field 'stesp'; did you mean 'steps'?"),
    ],
)
def test_a_file_that_declares_nothing_is_named_with_its_line(name, text, expected, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    assert expected in refusal(capsys, [f"--exp={tmp_path / name}"])


def test_a_run_folder_is_an_experiment(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(to_json(SMALL)))
    asked = cli.parse_folder([f"{tmp_path}/run/", "--data.source", "synthetic:5"], command="evaluate")
    assert (asked.name, asked.folder, asked.base) == ("run", f"{tmp_path}/run", SMALL)
    assert asked.experiment.data.source == Synthetic(5)
    for argv, words in [
        ([], "which run? python -m train.evaluate RUN_DIR"),
        (["no"], "no is not a run folder"),
        (["a", "b"], "'b'"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            cli.parse_folder(argv, command="evaluate")
        assert stopped.value.code == 2 and words in capsys.readouterr().err


def test_override_serves_sweeps_and_notebooks():
    assert cli.override(SMALL, ["optimizer.schedule.peak=1e-3", "--steps", "9"]).optimizer.schedule.peak == 1e-3
    assert cli.override(SMALL, []) is SMALL
    with pytest.raises(ValueError, match=r"did you mean --optimizer\.schedule\.peak"):
        cli.override(SMALL, ["lr=3"])


@pytest.mark.parametrize("words", [["--list"], ["--help"], ["-h"], ["--exp=bert_smal"], [], ["--exp=no.py"]])
def test_quick_answers_do_not_import_jax(words):
    program = (
        "import sys\nfrom train import cli\n"
        "try:\n    cli.parse(sys.argv[1:], command='pretrain')\nexcept SystemExit as done:\n    code = done.code or 0\n"
        "heavy = [name for name in ('jax', 'flax', 'optax', 'numpy') if name in sys.modules]\n"
        "print('code', code, 'heavy', heavy)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    expected = 0 if words in (["--list"], ["--help"], ["-h"]) else 2
    assert ran.stdout.splitlines()[-1] == f"code {expected} heavy []", ran.stdout + ran.stderr
    assert "bert_small" in ran.stdout + ran.stderr or words == ["--exp=no.py"]


@pytest.mark.parametrize(
    ("command", "there", "other"), [("pretrain", "bert_tiny", "sst2"), ("finetune", "sst2", "bert_tiny")]
)
def test_only_what_a_command_takes_is_named(command, there, other):
    said = cli.no_experiment(command, {}, RunOptions).split(", ")
    assert there in said and other not in said
