"""The adapters that are ready at hand, least recently used first out, bounded by bytes.

Only ever a copy of what can be made again from a stored state. Keys carry the memory's version, so an adapter of an
older memory is never handed out for a newer one.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.adapter import Adapter

Key = tuple[int, int]


class AdapterCache:
    """Adapters by (user id, memory version)."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._adapters: OrderedDict[Key, Adapter] = OrderedDict()
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all adapters held."""
        with self._lock:
            return self._held()

    def find(self, user_id: int, version: int) -> Adapter | None:
        """Return the adapter of exactly this version, or None."""
        with self._lock:
            if (user_id, version) not in self._adapters:
                return None
            self._adapters.move_to_end((user_id, version))
            return self._adapters[user_id, version]

    def keep(self, user_id: int, version: int, adapter: Adapter) -> None:
        """Hold this adapter instead of the user's earlier ones, and let go of the least used beyond the bound."""
        with self._lock:
            self._drop(user_id)
            self._adapters[user_id, version] = adapter
            while self._adapters and self._held() > self._most_bytes:
                self._adapters.popitem(last=False)

    def forget(self, user_id: int) -> None:
        """Let go of everything made from this user's memory."""
        with self._lock:
            self._drop(user_id)

    def _held(self) -> int:
        return sum(adapter.nbytes for adapter in self._adapters.values())

    def _drop(self, user_id: int) -> None:
        for key in [key for key in self._adapters if key[0] == user_id]:
            del self._adapters[key]
