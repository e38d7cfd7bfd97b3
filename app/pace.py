"""How many messages of one person are taken in a minute: what one may do must not keep the others waiting.

Counts in this process alone. Knows no messages and no storage.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

from app.errors import UserBusy

MINUTE = 60.0  # seconds


class Pace:
    """At most `most` in any minute, for each person; 0 for no limit."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._taken: dict[int, deque[float]] = {}
        self._lock = Lock()

    def take(self, user_id: int) -> None:
        """Count one; raise UserBusy, and count nothing, where there were enough."""
        if not self._most:
            return
        now = self._clock()
        with self._lock:
            taken = self._taken.setdefault(user_id, deque())
            while taken and taken[0] <= now - MINUTE:
                taken.popleft()
            if len(taken) >= self._most:
                raise UserBusy(
                    f"No more than {self._most} messages a minute are taken under one name; "
                    f"send it again in {taken[0] + MINUTE - now:.0f} seconds."
                )
            taken.append(now)
