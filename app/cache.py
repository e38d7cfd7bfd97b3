"""The adapters that are ready at hand, least recently used first out, bounded by bytes.

Only ever a copy of what can be made again from a stored state. Keys carry the memory's version, so an adapter of an
older memory is never handed out for a newer one. What a reply is being written with is in use: letting go of it would
free nothing, so it counts as long as it is, and is found again.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from core.adapter import Adapter

Key = tuple[int, int]


class AdapterCache:
    """Adapters by (user id, memory version)."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._adapters: OrderedDict[Key, Adapter] = OrderedDict()
        self._alive: WeakValueDictionary[Key, Adapter] = WeakValueDictionary()  # those held, and those only in use
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all adapters held or in use."""
        with self._lock:
            return self._taken()

    def find(self, user_id: int, version: int) -> Adapter | None:
        """Return the adapter of exactly this version, or None."""
        with self._lock:
            adapter = self._alive.get((user_id, version))
            if (user_id, version) in self._adapters:
                self._adapters.move_to_end((user_id, version))
            return adapter

    def keep(self, user_id: int, version: int, adapter: Adapter) -> None:
        """Hold this adapter instead of the user's earlier ones, and let go of the least used beyond the bound."""
        with self._lock:
            self._drop(user_id)
            self._adapters[user_id, version] = self._alive[user_id, version] = adapter
            while self._adapters and self._taken() > self._most_bytes:
                self._adapters.popitem(last=False)

    def forget(self, user_id: int) -> None:
        """Let go of everything made from this user's memory."""
        with self._lock:
            self._drop(user_id)

    def _taken(self) -> int:
        return sum(adapter.own_bytes for adapter in list(self._alive.values()))

    def _drop(self, user_id: int) -> None:
        for adapters in (self._adapters, self._alive):
            for key in [key for key in list(adapters) if key[0] == user_id]:
                adapters.pop(key, None)
