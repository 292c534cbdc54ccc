"""The floors of the house: who may import whom, one door for each library, no cycles. Read from the syntax trees."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("kernels", "model", "data", "train", "experiments")

# Package -> the packages of ours that it may import, besides itself.
FLOORS = {
    "kernels": set(),
    "model": {"kernels"},
    "data": set(),
    "train": {"model", "data", "kernels"},
    "experiments": {"train", "model", "data", "kernels"},
}

# Library -> the only files (or folders) that may import it.
DOORS = {
    "tensorflow_datasets": ("data/sources.py", "data/corpus/"),
    "sentencepiece": ("data/tokenizers/",),
    "tokenizers": ("data/tokenizers/",),
    "safetensors": ("model/hub.py",),
    "huggingface_hub": ("train/pretrained.py",),
    "grain": ("data/pipeline.py", "data/workers.py"),
    "orbax": ("train/checkpoint.py",),
    "wandb": ("train/tracking.py",),
    "tensorboardX": ("train/tracking.py",),
    "tyro": ("train/cli.py", "train/values.py", "train/usage.py"),
    "rich": ("train/console.py", "train/usage.py", "train/cli.py"),
    "treescope": ("model/inspection/named.py",),
    "scipy": ("model/inspection/flow.py",),
    "jinja2": ("model/inspection/markup.py",),
    "sklearn": ("model/inspection/probes.py", "train/task_metrics.py"),
    "seqeval": ("train/tag_metrics.py",),
    "sacrebleu": ("train/text_metrics.py", "train/metric_tokens.py"),
    "rouge_score": ("train/text_metrics.py", "train/metric_tokens.py"),
    "lm_eval": ("train/harness.py",),
    "optuna": ("train/search.py",),
    "optax": ("train/", "experiments/bench"),
    "matplotlib": ("model/inspection/",),
    "torch": ("experiments/bench", "train/peer.py"),
    "transformers": ("experiments/bench", "train/peer.py"),
}
NEVER_IN_DATA = ("jax", "flax", "optax", "jaxtyping")


def sources() -> dict[str, ast.Module]:
    """Every Python file of the packages by its path from the root, parsed."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in files}


def imports(tree: ast.Module) -> set[str]:
    """Every module that a file imports anywhere, in dotted form."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floors"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


SOURCES = sources()


@pytest.mark.parametrize("path", SOURCES)
def test_imports_go_downwards(path):
    package = path.split("/")[0]
    tops = {name.split(".")[0] for name in imports(SOURCES[path])}
    upwards = (tops & set(PACKAGES)) - FLOORS[package] - {package}
    assert not upwards, f"{path} imports {', '.join(sorted(upwards))}"


@pytest.mark.parametrize("path", SOURCES)
def test_each_library_has_one_door(path):
    for name in imports(SOURCES[path]):
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or path.startswith(doors), f"{path} imports {name}; its door is {', '.join(doors)}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.startswith("data/")])
def test_data_is_numpy(path):
    assert not {name.split(".")[0] for name in imports(SOURCES[path])} & set(NEVER_IN_DATA)


@pytest.mark.parametrize("path", SOURCES)
def test_packages_are_not_names(path):
    """`import model` would take a word that every function wants for a variable."""
    plain = {alias.name for node in ast.walk(SOURCES[path]) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name.split(".")[0] for name in plain} & set(PACKAGES)


def test_no_cycles():
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in SOURCES}

    def top_level_imports(path: str) -> set[str]:
        statements = [node for node in SOURCES[path].body if isinstance(node, ast.Import | ast.ImportFrom)]
        return {name for name in imports(ast.Module(statements, [])) if name in modules}

    top_level = {module: top_level_imports(path) for module, path in modules.items()}
    done, under_way = set(), []

    def visit(module: str) -> None:
        assert module not in under_way, f"cycle: {' -> '.join([*under_way[under_way.index(module) :], module])}"
        if module in done:
            return
        under_way.append(module)
        for name in sorted(top_level[module]):
            visit(name)
        done.add(under_way.pop())

    for module in sorted(modules):
        visit(module)


@pytest.mark.parametrize("path", SOURCES)
def test_files_hold_one_idea(path):
    lines = (ROOT / path).read_text().count("\n")
    assert lines <= 400, f"{path} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES)
def test_nothing_that_the_house_forbids(path):
    names = imports(SOURCES[path])
    assert not names & {"pickle", "cloudpickle", "dill", "shelve", "__future__.annotations"}
    assert Path(path).name not in {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert ast.get_docstring(SOURCES[path]), f"{path} does not say what it is"
