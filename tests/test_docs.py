"""The documents are true: commands run, flags exist, links lead somewhere, figures are those that were measured.

A command of a fenced block is run as it stands in a process of its own, in an empty folder, with `--steps 2` where it trains.
Those of `NOT_RUN` are not, for the reason given. To stay quick, the default tests train one experiment and read the command
lines of the others to the end (`--print-config`); the slow tests train them all.
"""

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from train import cli
from train.embed import EmbedOptions
from train.evaluate import EvaluateOptions
from train.finetune import SHORT
from train.generate import GenerateOptions
from train.options import FinetuneOptions, Options, RunOptions
from train.prompting import PromptOptions

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/results/README.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(name, *found.groups()) for name, text in TEXTS.items() for found in FENCE.finditer(text)]

NOT_RUN = {
    "pip install": "installing is what .ci/run does, in empty environments",
    "pip freeze": "prints what is installed",
    "pytest": "these are its tests; .ci/run runs it as written",
    "ruff": "run by .ci/run",
    "pyright": "run by .ci/run",
    ".ci/run": "runs these tests",
    "python -m train.prepare --exp=bert_base": "downloads Wikipedia, and wants books of one's own",
}
NOT_TRAINED = {
    "tfds:wikipedia": "needs a download; its command line is read to the end",
    "--exp=sst2": "needs a download; tests/train/test_finetune.py runs it on files",
    "train.compare": "needs torch and transformers; tests/train/test_compare.py runs it where they are installed",
}
SHOWS = {"--list", "--help", "--print-config", "--diff"}
USING = {  # commands that use a run: what is appended to keep them short, and what they must print
    "train.generate": ((), ""),
    "train.embed": ((), ""),
    "train.export": ((), "where transformers is installed it opens with"),
    "train.compare": ((), ""),
    "train.inspect": ((), "2 layers x 2 heads"),
    "experiments.reproduce": (("--seeds", "0", "--variants", "no_positions", "--runs", "claims"), "no_positions"),
}
SHORT_RUN = {  # two steps, and few documents to evaluate on: the README's model is a large one for a test
    "train.pretrain": ("--steps", "2", "--data.valid-documents", "4"),
    "train.finetune": ("--steps", "2"),
}
FOREIGN_FLAGS = {
    "--xla_force_host_platform_device_count": "XLA",
    "--check": "ruff",
    "--exclude-editable": "pip",
}


@dataclass(frozen=True)
class Command:
    """One command of a document: its environment, its words."""

    document: str
    environment: tuple[tuple[str, str], ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def module(self) -> str:
        """`train.pretrain`, or nothing for a program that is not ours."""
        return self.words[2] if self.words[:2] == ("python", "-m") else ""

    @property
    def arguments(self) -> list[str]:
        return list(self.words[3:])

    @property
    def shows(self) -> bool:
        """Whether it prints something and stops."""
        return bool(SHOWS & {word.partition("=")[0] for word in self.words})

    def reason_not_to(self, reasons: dict[str, str]) -> str:
        return next((reason for begin, reason in reasons.items() if begin in str(self)), "")


def commands() -> list[Command]:
    """Every command in a fenced block of shell, `a && b` being two."""
    found = []
    for document, language, body in BLOCKS:
        for line in body.replace("\\\n", " ").splitlines() if language == "bash" else ():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                names = [word for word in words if re.match(r"[A-Z_]+=", word)]
                environment = tuple(tuple(word.split("=", 1)) for word in names)
                if rest := tuple(word for word in words if word not in names):
                    found.append(Command(document, environment, rest))
    return found


COMMANDS = commands()
OURS = [command for command in COMMANDS if not command.reason_not_to(NOT_RUN)]
TRAINERS = ("train.pretrain", "train.finetune")
TRAIN = [command for command in OURS if command.module in TRAINERS and not command.shows]
SCORE = [command for command in OURS if command.module == "train.evaluate" and "runs/" in str(command)]
PUBLISHED = [command for command in OURS if command.module == "train.evaluate" and command not in SCORE]
USE = [command for command in OURS if command.module in USING]
MINE = next(body for _, language, body in BLOCKS if language == "python" and "experiment = Experiment(" in body)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A folder as the README supposes it: a `mine.py`, some text in `my/`, nothing else."""
    from pydoc_data.topics import topics

    folder = tmp_path_factory.mktemp("workspace")
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    (folder / "my").mkdir()
    for name, text in sorted(topics.items())[:12]:
        (folder / "my" / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def run(command: Command, folder: Path, *more: str) -> str:
    """Run a command in a folder and return what it printed; it must end well.

    What takes a few steps is compiled as tests are; a claim, which trains for minutes, as for anybody.
    """
    given = dict(command.environment)
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | given
    if command.module != "experiments.reproduce":
        flags = (os.environ["XLA_FLAGS"], "--xla_force_host_platform_device_count=1", given.get("XLA_FLAGS", ""))
        environment["XLA_FLAGS"] = " ".join(flags)
    environment["PYTHONPATH"] = str(ROOT)
    if "--profile" in command.words and "--steps" in more:
        more = (*more, "--profile", "0:1")  # of the few steps that are taken
    words = [sys.executable, *command.words[1:], *more]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return done.stdout


def read(command: Command, *more: str) -> str:
    """Read a command line to the end in this process, and return what it prints."""
    options = {"train.pretrain": RunOptions, "train.finetune": FinetuneOptions}.get(command.module, Options)
    short = SHORT if command.module == "train.finetune" else {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stop:
        name = command.module.removeprefix("train.")
        cli.parse([*command.arguments, *more], command=name, options=options, short=short)
    assert stop.value.code == 0
    return printed.getvalue()


def test_every_block_says_what_it_is():
    for document, language, body in BLOCKS:
        assert language in ("bash", "python", "text"), f"{document}: {body[:60]!r} is in a block that says {language!r}"


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_is_run_or_says_why_not(command):
    known = (*TRAINERS, "train.evaluate", "train.prepare", *USING)
    assert command.module in known or command.reason_not_to(NOT_RUN), f"{command.document}: no test runs {command}"


@pytest.mark.parametrize("command", [c for c in OURS if c.module in (*TRAINERS, "train.prepare")], ids=str)
def test_command_lines_are_understood(command, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    assert read(command, *([] if command.shows else ["--print-config"]))


@pytest.mark.slow
def test_own_experiment_is_trained_repeated_scored_and_opened(workspace):
    """The commands of one section in their order; those that score another run score this one."""
    train = next(command for command in TRAIN if command.words[3:] == ("--exp=mine.py",))
    assert "runs/mine: held-out loss" in run(train, workspace, *SHORT_RUN["train.pretrain"])
    assert (workspace / "runs/mine/report.html").is_file()
    assert "(finished before)" in run(train, workspace, *SHORT_RUN["train.pretrain"])
    for words in {
        tuple("runs/mine" if word.startswith("runs/") else word for word in command.words) for command in SCORE
    }:
        assert "valid_loss" in run(Command("README.md", (), words), workspace)
    opened = next(body for _, language, body in BLOCKS if language == "python" and 'open("runs/mine")' in body)
    printed = run(Command("README.md", (), ("python", "-c", opened)), workspace)
    assert re.fullmatch(r"2 \d+\.\d+ 1024\n", printed), printed


@pytest.mark.slow
def test_every_training_command_trains_and_what_uses_its_run_works(workspace):
    """In the order of the README, for later commands start from the runs of earlier ones."""
    for command in (command for command in [*TRAIN, *USE] if not command.reason_not_to(NOT_TRAINED)):
        if command in TRAIN:
            printed = run(command, workspace, *SHORT_RUN[command.module])
            assert "held-out loss" in printed or "bit for bit equal" in printed, printed
        else:
            more, expected = USING[command.module]
            assert expected in run(command, workspace, *(() if command.shows else more)) or command.shows
    assert PUBLISHED
    for command in PUBLISHED:
        assert "valid_loss" in run(command, workspace)
    opened = next(body for _, language, body in BLOCKS if language == "python" and "import load, save" in body)
    seen = next(body for _, language, body in BLOCKS if language == "python" and "patch_grid" in body)
    assert "('head', 'query', 'key')" in run(Command("README.md", (), ("python", "-c", seen)), workspace)
    assert re.fullmatch(r"\(1, \d+, 8192\)\n", run(Command("README.md", (), ("python", "-c", opened)), workspace))


@pytest.mark.parametrize("module", sorted({command.module for command in USE}))
def test_flags_of_commands_that_use_a_run_are_in_their_help(module, workspace):
    shown = run(Command("", (), ("python", "-m", module)), workspace, "--help")
    for command in (command for command in USE if command.module == module):
        for flag in (word.partition("=")[0] for word in command.arguments if word.startswith("--")):
            assert flag in shown, f"{command.document}: {command} has {flag}, which {module} does not know"


def test_mistakes_get_the_line_that_is_shown(capsys):
    shown = re.findall(r"^\$ python -m train.pretrain (.*)\n(error: .*)$", TEXTS["README.md"], re.MULTILINE)
    assert shown
    for words, line in shown:
        with pytest.raises(SystemExit) as stop:
            cli.parse(shlex.split(words), command="pretrain")
        assert (stop.value.code, capsys.readouterr().err.strip()) == (2, line)


@pytest.mark.parametrize("name", [name for name, language, _ in BLOCKS if language == "python" and name != "README.md"])
def test_python_of_a_recipe_runs(name):
    for document, language, body in BLOCKS:
        if document == name and language == "python":
            module = types.ModuleType("recipe")
            exec(body, module.__dict__)
            assert doctest.testmod(module).failed == 0


def test_flags_exist(monkeypatch, workspace):
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("COLUMNS", "200")
    shown = [read(Command("", (), ("python", "-m", "train.pretrain", f"--exp={name}", "--help"))) for name in
             ("bert_tiny", "bert_small")]  # fmt: skip
    task = ("python", "-m", "train.finetune", "--exp=library_parts", "--help")
    shown += [read(Command("", (), (*task, *more))) for more in ((), ("--peft", "lora"))]
    shown += [run(Command("", (), ("python", "-m", module)), workspace, "--help") for module in {c.module for c in USE}]
    known = {flag.replace("-", "_") for text in shown for flag in re.findall(r"--[a-z][\w.-]*", text)}
    known |= {flag.removesuffix(".name") for flag in known}
    kinds = (EvaluateOptions, PromptOptions, GenerateOptions, EmbedOptions)
    known |= {f"__{field.name}" for kind in kinds for field in fields(kind)} | {"__exp"}
    for document, text in TEXTS.items():
        prose = re.sub(r"^```text\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for flag in sorted(set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", prose))):
            assert flag in FOREIGN_FLAGS or flag.replace("-", "_") in known, (
                f"{document} names {flag}, which is not there"
            )


def test_every_option_of_a_run_is_in_the_readme():
    for field in fields(RunOptions):
        assert f"--{field.name.replace('_', '-')}" in TEXTS["README.md"], f"README.md does not name {field.name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    here, text = (ROOT / document).parent, TEXTS[document]
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, f"{document} links to {target}"
        elif "://" not in target:
            assert (here / target).exists(), f"{document} links to {target}"


def test_the_tree_names_every_file():
    block = FENCE.search(TEXTS["ARCHITECTURE.md"], TEXTS["ARCHITECTURE.md"].index("## The tree"))
    assert block is not None
    named, folder = set(), ""
    for line in block[2].splitlines():
        if not line.startswith(" "):
            folder = line
        else:
            named.add(folder + line.split()[0])
    packages = ("kernels", "model", "data", "train", "experiments")
    made = {"__pycache__", "results"}  # by programs
    files = [path for package in packages for path in (ROOT / package).rglob("*.*") if not made & set(path.parts)]
    there = {path.relative_to(ROOT).as_posix() for path in files if path.suffix in {".py", ".html", ".css", ".js"}}
    left_out = {name for name in there - named if not name.endswith("__init__.py")}
    left_out -= {name for name in left_out if name.startswith("experiments/tasks/")}  # --list names them
    assert not left_out, f"ARCHITECTURE.md does not name {', '.join(sorted(left_out))}"
    assert not named - there, f"ARCHITECTURE.md names {', '.join(sorted(named - there))}, which is not there"


FIGURES = re.findall(r"<!-- measured: (\S+) (\S+) -->((?:not )?reproduced|[^\s|]+?)(?=,?[\s|])", TEXTS["README.md"])


@pytest.mark.parametrize(("file", "key", "figure"), FIGURES, ids=[f"{file} {key}" for file, key, _ in FIGURES])
def test_figures_are_those_that_were_measured(file, key, figure):
    path = ROOT / "experiments/results" / file
    if not path.is_file():
        assert figure == "…", f"README.md says {figure}, and there is no {path}"
        return
    value = json.loads(path.read_text(encoding="utf-8"))
    for word in key.split("."):
        value = value[word]
    if isinstance(value, str):
        assert figure == value
        return
    number = figure.removesuffix("%").lstrip("+")
    decimals = len(number.partition(".")[2])
    assert number == f"{value * (100 if figure.endswith('%') else 1):,.{decimals}f}", f"{file} {key} is {value}"


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_constraints_fit_the_requirements_and_name_no_host(python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / f"constraints/py{python.replace('.', '')}.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if not line.startswith("#"))
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) and re.fullmatch(r"[a-z0-9.+]+", pin) for name, pin in pins.items())
    for word in project["dependencies"] + project["optional-dependencies"]["dev"]:
        wanted = Requirement(word)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": python}):
            pin = pins[wanted.name.lower().replace("_", "-")]
            assert wanted.specifier.contains(pin), f"{wanted.name} {pin} of python {python} is not {wanted.specifier}"
