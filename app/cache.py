"""The adapters that are ready at hand, least recently used first out, bounded by bytes.

Only ever a copy of what can be made again from a stored state. Keys carry the memory's version, so an adapter of an
older memory is never handed out for a newer one. One that was let go of while a reply is written with it frees nothing
until then: it counts as long, and is found again.
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
        """Bytes of all adapters held, and of those let go of that are still in use."""
        with self._lock:
            return self._taken()

    def find(self, user_id: int, version: int) -> Adapter | None:
        """Return the adapter of exactly this version, or None."""
        with self._lock:
            key = (user_id, version)
            adapter = self._alive.get(key)
            if key in self._adapters:
                self._adapters.move_to_end(key)
            elif adapter is not None:
                self._hold(key, adapter)
            return adapter

    def keep(self, user_id: int, version: int, adapter: Adapter) -> None:
        """Hold this adapter instead of the user's earlier ones, and let go of the least used beyond the bound."""
        with self._lock:
            self._drop(user_id)
            self._alive[user_id, version] = adapter
            self._hold((user_id, version), adapter)

    def forget(self, user_id: int) -> None:
        """Let go of everything made from this user's memory."""
        with self._lock:
            self._drop(user_id)

    def _hold(self, key: Key, adapter: Adapter) -> None:
        self._adapters[key] = adapter
        self._adapters.move_to_end(key)
        while self._adapters and self._taken() > self._most_bytes:
            self._adapters.popitem(last=False)

    def _taken(self) -> int:
        from core.adapter import distinct_bytes  # torch is there, if an adapter is

        return distinct_bytes(list(self._alive.values()))

    def _drop(self, user_id: int) -> None:
        for adapters in (self._adapters, self._alive):
            for key in [key for key in list(adapters) if key[0] == user_id]:
                adapters.pop(key, None)
