"""Two ledgers made one: two devices of one person, or the memories of a household.

Everything is in the order in which it was said, whichever ledger is taken into which, so the memory is the same too.
Plain records in, plain records out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from heapq import merge

from storage.records import Turn

Key = tuple[float, str]


def interleaved(held: Sequence[Turn], arriving: Sequence[Turn]) -> list[Turn]:
    """The turns of both ledgers in the order of their times; what is in both is taken once, as `held` has it.

    Each ledger keeps its own order, also where its clock went backwards: what came later counts as no earlier.
    """
    known = {_digest(turn) for turn in held}
    new = [turn for turn in arriving if _digest(turn) not in known]
    return [turn for _, turn in merge(_keyed(held), _keyed(new), key=lambda pair: pair[0])]


def _keyed(turns: Sequence[Turn]) -> Iterator[tuple[Key, Turn]]:
    latest = 0.0
    for turn in turns:
        latest = max(latest, turn.created_at)
        yield (latest, _digest(turn)), turn


def _digest(turn: Turn) -> str:
    said = "\0".join((repr(turn.created_at), turn.user_text, turn.reply_text or ""))
    return hashlib.sha256(said.encode()).hexdigest()
