"""Freed memory goes back to the machine."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import trimming
from app.settings import HOME
from app.trimming import leave_few_holes, trim

BLOCK, COUNT = 64 * 1024, 1024  # 64 MiB in blocks too small to be mapped one by one

on_glibc = pytest.mark.skipif(
    os.name != "posix" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc has malloc_trim"
)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@on_glibc
def test_holes_between_what_is_in_use_are_given_back() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    taken = [library.malloc(BLOCK) for _ in range(COUNT)]
    for block in taken:
        ctypes.memset(block, 1, BLOCK)
    for block in taken[:-1]:  # the last stays, so that the holes are not at the end of the heap
        library.free(block)
    before = resident()
    assert trim()
    assert before - resident() > BLOCK * COUNT // 2
    library.free(taken[-1])


HOLES = """
import torch
from app.trimming import leave_few_holes
from tests.app.test_trimming import resident
assert leave_few_holes()
between = []
begun = resident()
for size in range(200):
    block = torch.ones(100_000 + 10_000 * size)
    between.append(torch.ones(10))
    del block
print(resident() - begun)
"""


@on_glibc
def test_large_blocks_leave_no_holes() -> None:
    ran = subprocess.run([sys.executable, "-c", HOLES], cwd=HOME, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < BLOCK * COUNT // 8


def test_where_there_is_no_such_call_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming.ctypes, "CDLL", lambda _: object())
    assert not trim()
    assert not leave_few_holes()
