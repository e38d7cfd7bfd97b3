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


MAPPED = """
import ctypes, sys
from app.trimming import leave_few_holes
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split()]
    _fields_ += [(name, ctypes.c_size_t) for name in "usmblks fsmblks uordblks fordblks keepcost".split()]
library.mallinfo2.restype = Info
if sys.argv[1] == "few":
    assert leave_few_holes()
library.free(library.malloc(2 << 20))
before = library.mallinfo2().hblkhd
library.malloc(2 << 20)
print(library.mallinfo2().hblkhd - before >= 2 << 20)
"""


@on_glibc
@pytest.mark.parametrize(("holes", "is_mapped"), [("few", "True"), ("many", "False")])
def test_large_blocks_are_mapped_one_by_one_also_after_one_was_freed(holes: str, is_mapped: str) -> None:
    command = [sys.executable, "-c", MAPPED, holes]
    ran = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == is_mapped


def test_where_there_is_no_such_call_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming.ctypes, "CDLL", lambda _: object())
    assert not trim()
    assert not leave_few_holes()
