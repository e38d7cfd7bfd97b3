"""Gates: of each person one thing is done at a time, and few wait for it: a crowd of one must not take every thread.

Counts in this process alone. Knows neither messages nor storage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from app.errors import UserBusy

OTHERS = 3
"""How many may wait for a person before whoever comes next; more are no person in front of a screen."""


class Gates:
    """One for each person; whoever comes waits up to so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._gates: dict[int, Lock] = {}
        self._waiting: Counter[int] = Counter()
        self._counting = Lock()

    @contextmanager
    def alone(self, user_id: int) -> Iterator[None]:
        """Hold a person's gate; another thread than the one that took it may let it go.

        Raise UserBusy where it is not free in time, or at once where more than OTHERS wait already.
        """
        gate = self._gates.setdefault(user_id, Lock())
        if not (gate.acquire(blocking=False) or self._awaited(user_id, gate)):
            raise UserBusy(
                f"Another message under this name is still being answered after {self._seconds:g} seconds; stop it, "
                "or wait and send this one again."
            )
        try:
            yield
        finally:
            gate.release()

    def _awaited(self, user_id: int, gate: Lock) -> bool:
        with self._counting:
            if self._waiting[user_id] > OTHERS:
                raise UserBusy("Several messages under this name wait to be answered; send this one again after them.")
            self._waiting[user_id] += 1
        try:
            return gate.acquire(timeout=self._seconds)
        finally:
            with self._counting:
                self._waiting[user_id] -= 1
