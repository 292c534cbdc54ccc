"""What malloc keeps is not paid for twice."""

import subprocess
import sys

import pytest

from train.memory import computes_on_cpu

PROGRAM = """
import resource, sys
import numpy as np
from train.memory import keep_freed_memory
kept = {call}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = np.empty(100 << 20, np.uint8)
    block.fill(1)
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(int(kept), faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_a_block_once_freed_costs_no_page_faults_again():
    answers = {}
    for call in ("keep_freed_memory()", "False"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True
        )
        answers[call] = list(map(int, done.stdout.split()))
    if not answers["keep_freed_memory()"][0]:
        pytest.skip("not glibc, or JAX would choose an accelerator")
    assert answers["keep_freed_memory()"][1] < 100


@pytest.mark.parametrize(("platforms", "cpu"), [("cpu", True), ("cuda,cpu", False), ("tpu", False)])
def test_platform_is_judged_without_jax(monkeypatch, platforms, cpu):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert computes_on_cpu() == cpu
