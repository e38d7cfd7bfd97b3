"""Memory that was freed, given back to the machine: the C library keeps it, in holes between what is in use.

A reply needs tensors of ever different sizes, so the holes of a server that is never idle grow for hours. Only glibc
has calls for it (mallopt, malloc_trim); elsewhere nothing is done. Knows nothing of what the memory was for.
"""

from __future__ import annotations

import ctypes

THRESHOLD, ARENAS = (-3, 1024 * 1024), (-8, 2)  # of glibc's malloc.h: M_MMAP_THRESHOLD and M_ARENA_MAX


def leave_few_holes() -> bool:
    """Have large blocks be mapped one by one and given back when freed, and few heaps share the others; whether so.

    glibc would raise its limit to 32 MiB, with every larger block that is freed; a smaller one than this costs time.
    """
    library = ctypes.CDLL(None)
    return hasattr(library, "mallopt") and all([library.mallopt(*option) for option in (THRESHOLD, ARENAS)])


def trim() -> bool:
    """Give back every whole page that is free; False where the C library cannot, or had none."""
    library = ctypes.CDLL(None)
    return bool(library.malloc_trim(0)) if hasattr(library, "malloc_trim") else False
