"""Every example in a docstring is run as it stands."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("kernels", "model", "data", "train", "experiments")
EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)
FILES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if EXAMPLE.search(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples(path):
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    runner, said = doctest.DocTestRunner(), []
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(dotted)):
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
    written = len(EXAMPLE.findall(path.read_text(encoding="utf-8")))
    assert runner.tries == written, f"{runner.tries} of the {written} examples of {dotted} were found and run"
