"""A folder is written beside its place: what a kill leaves there is swept by the next writer, and nothing else is."""

import os
import platform
import resource
import subprocess
import sys

import numpy as np
import pytest

from model.hub import new_folder, save_tensors, temporary_of


def test_what_a_killed_writer_left_is_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours, host = tmp_path / "out", platform.node()
    left = tmp_path / f".out.loupe-{host}-{dead.pid}"
    kept = [
        tmp_path / f".out-{dead.pid}",  # a user's own
        tmp_path / f".out.loupe-{host}-{os.getppid()}",  # somebody who is still at it
        tmp_path / f".out.loupe-elsewhere.{host}-{dead.pid}",  # another machine that shares the disk
        tmp_path / f".other.loupe-{host}-{dead.pid}",
        tmp_path / f".out.loupe-{host}-notes",
    ]
    for folder in (left, *kept):
        folder.mkdir()
        (folder / "model.safetensors").touch()
    assert new_folder(ours) == temporary_of(ours)
    assert not left.exists() and all(folder.exists() for folder in kept)


def test_the_same_process_may_write_again(tmp_path):
    first = new_folder(tmp_path / "[1]")
    (first / "half").touch()
    assert list(new_folder(tmp_path / "[1]").iterdir()) == []


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as told:
            save_tensors(path, {"a": np.zeros(10_000, np.float32)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told.value.filename == str(path)
