"""Two ledgers made one: two devices of one person, or the memories of a household.

Everything is in the order in which it was said, whichever ledger is taken into which, so the memory is the same too;
but a turn of both that one of them has changed since is as it is here. Plain records in, plain records out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import merge

from storage.records import Turn

Key = tuple[float, str]


def interleaved(held: Sequence[Turn], arriving: Sequence[Turn]) -> list[Turn]:
    """The turns of both ledgers in the order of their times.

    A turn is known by the moment it was written: what is in both is taken once, as `held` has it, pinned if either has
    it pinned. Each ledger keeps its own order, also where its clock went back: what came later counts as no earlier.
    """
    known = {turn.created_at for turn in held}
    pinned = {turn.created_at for turn in arriving if turn.pinned}
    mine = [replace(turn, pinned=turn.pinned or turn.created_at in pinned) for turn in held]
    new = [pair for pair in _keyed(arriving) if pair[1].created_at not in known]
    return [turn for _, turn in merge(_keyed(mine), new, key=lambda pair: pair[0])]


def _keyed(turns: Sequence[Turn]) -> Iterator[tuple[Key, Turn]]:
    latest = 0.0
    for turn in turns:
        latest = max(latest, turn.created_at)
        yield (latest, _digest(turn)), turn


def _digest(turn: Turn) -> str:
    """What decides between two turns of one moment."""
    said = "\0".join((turn.user_text, turn.reply_text or ""))
    return hashlib.sha256(said.encode()).hexdigest()
