"""How much one person may keep here: what one may do must not fill the disk of the others.

Knows sizes, and nothing of what was said.
"""

from __future__ import annotations

from collections.abc import Callable

from app.errors import ShareFull
from storage.records import Kept

MEGABYTE = 1_000_000


class Shares:
    """At most so many conversations and megabytes (1,000,000 bytes) for each person; 0 for no limit."""

    def __init__(self, kept_of: Callable[[int], Kept], conversations: int, megabytes: float) -> None:
        self._kept_of, self._conversations, self._megabytes = kept_of, conversations, megabytes

    def check(self, user_id: int, more_conversations: int, more_bytes: int) -> None:
        """Raise ShareFull where a person would keep more than their share with so much more."""
        if not self._conversations and not self._megabytes:
            return
        kept = self._kept_of(user_id)
        if self._conversations and more_conversations and kept.conversations + more_conversations > self._conversations:
            raise ShareFull(
                f"One name may keep {self._conversations:,} conversations here and this one keeps "
                f"{kept.conversations:,}; delete one, or go on with one."
            )
        if self._megabytes and kept.size + more_bytes > self._megabytes * MEGABYTE:
            raise ShareFull(
                f"One name may keep {self._megabytes:g} MB here and this one keeps {kept.size / MEGABYTE:.1f} MB; "
                "forget something first."
            )
