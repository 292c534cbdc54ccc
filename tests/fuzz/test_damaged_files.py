"""Files of others, damaged at random: a result or one line, in bounded time and memory (experiments/attack.py)."""

import random

import pytest

from experiments.attack.damage import damage
from experiments.attack.fuzz import fuzz

LIGHT = "words,bytes,merges,pieces,characters,gpt2,bert,llama,adapter,cache"


def test_a_damage_is_a_function_of_its_seed():
    contents = {"a.json": b'{"a": [1, {"b": 2}]}', "b.safetensors": b"\x02\0\0\0\0\0\0\0{}", "c": b"text"}
    for name, content in contents.items():
        made = [[damage(content, name, random.Random(seed)) for seed in range(40)] for _ in range(2)]
        assert made[0] == made[1] and len(set(made[0])) > 20


def test_damaged_files_are_read_or_refused_in_one_line():
    said: list[str] = []
    failed = fuzz(files=180, seed=7_000, only=LIGHT, say=said.append)
    assert not failed, "\n".join([*said, *failed])


@pytest.mark.slow
def test_more_of_them_and_run_folders():
    said: list[str] = []
    failed = fuzz(files=600, seed=20_000, say=said.append)
    assert not failed, "\n".join([*said, *failed])
