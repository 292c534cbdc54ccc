"""Beyond the placed arrays, opening a published folder holds less than 1.3 times its largest tensor in the host's memory.

Measured in a process of its own: the peak of the resident set while a Llama of 400 MB, half of it one table, is opened from one
file and from parts, onto one device and split over eight.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.hub import INDEX, write_json, write_tensors

ROOT = Path(__file__).parents[1]
WIDTH, INNER, LAYERS, VOCABULARY = 1_024, 2_816, 4, 50_000

WATCH = """
import ctypes, json, re, sys
import jax
from train.pretrained import load
from train.sharding import MeshShape, make_mesh
from train.state import split_model

def resident(word):
    return int(re.search(word + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

small, folder, shape = sys.argv[1:]
mesh = make_mesh(MeshShape.parse(shape)) if shape else None
load(small, mesh=mesh)  # what every first call compiles and keeps
ctypes.CDLL("libc.so.6").malloc_trim(0)
open("/proc/self/clear_refs", "w").write("5")  # the peak is counted from here
before = resident("VmRSS")
leaves = jax.block_until_ready(jax.tree.leaves(split_model(load(folder, mesh=mesh).model).params))
arrays = sum(shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards)
print(json.dumps({"arrays": arrays, "beyond": resident("VmHWM") - before - arrays}))
"""


def write_llama(folder: Path, width: int, inner: int, layers: int, vocabulary: int, file_bytes: int) -> int:
    """A random Llama; returns the bytes of its largest tensor."""
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {at + f"self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
        shapes |= {at + f"mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes |= {at + "mlp.down_proj.weight": (width, inner)}
        shapes |= {at + f"{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
    random = np.random.default_rng(0)
    write_tensors(
        folder, ((name, random.random(shape, np.float32)) for name, shape in shapes.items()), file_bytes=file_bytes
    )
    fields = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocabulary}
    fields |= {"num_attention_heads": 8, "num_key_value_heads": 8, "tie_word_embeddings": True}
    write_json(folder / "config.json", {"model_type": "llama", **fields})
    return 4 * max(int(np.prod(shape)) for shape in shapes.values())


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("shape", ["", "fsdp=4,tensor=2"])
@pytest.mark.parametrize("file_bytes", [10**9, 10**8], ids=["one file", "parts"])
def test_what_loading_holds_beside_the_arrays(file_bytes, shape, tmp_path):
    write_llama(tmp_path / "small", 64, 128, 2, 500, file_bytes)
    largest = write_llama(tmp_path / "large", WIDTH, INNER, LAYERS, VOCABULARY, file_bytes)
    assert (tmp_path / "large" / INDEX).is_file() == (file_bytes < 10**9)
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(tmp_path / "small"), str(tmp_path / "large"), shape],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={8 if shape else 1}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["arrays"] >= 390e6
    assert measured["beyond"] < 1.3 * largest, measured
