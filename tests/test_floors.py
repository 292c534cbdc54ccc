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
# Files that import each other in a circle, inside functions as a rule: no new ones, and these are to go.
CIRCLES: list[set[str]] = [
    {"data.building", "data.held_out", "data.prepared"},
    {"data.corpus", "data.corpus.embedded", "data.corpus.pairs"},
    {"data.tokenizers", "data.tokenizers.published"},
    {
        "train.inspectable",
        "train.origin",
        "train.predicting",
        "train.pretrained",
        "train.prompts",
        "train.run",
        "train.starting",
        "train.streaming",
        "train.task_evaluator",
        "train.writing",
    },
]
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
    """Imports anywhere in a file count, those inside functions and under TYPE_CHECKING too."""
    found = components(graph(SOURCES))
    fresh = [names for names in found if not any(names <= known for known in CIRCLES)]
    assert not fresh, "; ".join(f"imports in a circle: {', '.join(sorted(names))}" for names in fresh)
    gone = [known for known in CIRCLES if known not in found]
    assert not gone, "; ".join(f"CIRCLES says more than there is: {', '.join(sorted(known))}" for known in gone)


def test_a_circle_is_found_wherever_its_imports_stand():
    inside = "def f():\n    from data import b\n"
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from data.c import x\n"
    parsed = {
        "data/a.py": inside,
        "data/b.py": typing,
        "data/c.py": "import data.a\n",
        "data/d.py": "from data import a\n",
    }
    found = components(graph({path: ast.parse(text) for path, text in parsed.items()}))
    assert found == [{"data.a", "data.b", "data.c"}]


def graph(sources: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Each module of ours with those that it imports anywhere."""
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    return {name: {one for one in imports(sources[path]) if one in modules} - {name} for name, path in modules.items()}


def components(leads: dict[str, set[str]]) -> list[set[str]]:
    """Modules that reach each other, as sets of two or more, by the name of their first (Kosaraju 1978)."""
    order: list[str] = []
    back: dict[str, set[str]] = {name: set() for name in leads}
    for name, others in leads.items():
        for other in others:
            back[other].add(name)

    def reach(start: str, edges: dict[str, set[str]], seen: set[str]) -> list[str]:
        """What is reached from `start` and was not before, each behind all that it leads to."""
        found, stack = [], [(start, iter(sorted(edges[start])))]
        seen.add(start)
        while stack:
            _, rest = stack[-1]
            following = next((other for other in rest if other not in seen), None)
            if following is None:
                found.append(stack.pop()[0])
            else:
                seen.add(following)
                stack.append((following, iter(sorted(edges[following]))))
        return found

    seen: set[str] = set()
    for name in sorted(leads):
        if name not in seen:
            order += reach(name, leads, seen)
    seen = set()
    found = [set(reach(name, back, seen)) for name in reversed(order) if name not in seen]
    return sorted((names for names in found if len(names) > 1), key=min)


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
