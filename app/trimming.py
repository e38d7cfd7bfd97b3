"""Memory that was freed, given back to the machine: the C library keeps it, in holes between what is in use.

A reply needs tensors of ever different sizes, so the holes of a server that is never idle grow for hours. Only glibc
has a call for it (malloc_trim); elsewhere nothing is done. Knows nothing of what the memory was for.
"""

from __future__ import annotations

import ctypes


def trim() -> bool:
    """Give back every whole page that is free; False where the C library cannot, or had none."""
    library = ctypes.CDLL(None)
    return bool(library.malloc_trim(0)) if hasattr(library, "malloc_trim") else False
