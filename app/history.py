"""A memory at an earlier time, and a memory as it would be had its past been another: both by folding turns again.

States that were kept on the way save the folding of what came before them. One person's turns at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.ledger import Replay, Start, packed, replay, unpack
from storage.records import Rewriting, Turn
from storage.store import Store

if TYPE_CHECKING:
    from core.engine import Engine
    from core.state import State

LAST = (1 << 31) - 2
"""Comes after every position."""


class History:
    """What the ledger and the states kept on the way give."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def state_before(self, engine: Engine, user_id: int, position: int) -> State:
        """The state before the turn at a position was folded; costs few folds, however many turns there are."""
        turns = [turn for turn in self._store.held_turns(user_id) if place_of(turn) < position]
        return self._replayed(engine, user_id, turns, position)[1].state

    def rewritten(self, engine: Engine, user_id: int, turns: Sequence[Turn], changed: int) -> Rewriting:
        """The memory of these turns, of which those before the position `changed` are as the database has them."""
        after, again = self._replayed(engine, user_id, turns, changed)
        return rewriting(engine, again, after)

    def without(self, engine: Engine, user_id: int, turn_ids: set[int]) -> Rewriting:
        """The memory that never saw some of its turns."""
        held = self._store.held_turns(user_id)
        changed = min((place_of(turn) for turn in held if turn.id in turn_ids), default=LAST)
        return self.rewritten(engine, user_id, [turn for turn in held if turn.id not in turn_ids], changed)

    def having(self, engine: Engine, turn: Turn) -> Rewriting:
        """The memory with this turn in the place of the held one of the same id."""
        held = [turn if other.id == turn.id else other for other in self._store.held_turns(turn.user_id)]
        return self.rewritten(engine, turn.user_id, held, place_of(turn))

    def _replayed(self, engine: Engine, user_id: int, turns: Sequence[Turn], changed: int) -> tuple[int, Replay]:
        """A replay from the last state kept before a position, and that state's own position: 0 for nothing."""
        snapshot = self._store.load_snapshot(user_id, changed, engine.fingerprint)
        known = [turn for turn in turns if snapshot and place_of(turn) <= snapshot.position]
        if snapshot is None or not known:
            return 0, replay(engine, turns)
        start = Start(unpack(snapshot.blob), known[-1].link or "", len(known))
        return snapshot.position, replay(engine, turns[len(known) :], start)


def rewriting(engine: Engine, again: Replay, after: int = 0) -> Rewriting:
    """What the database keeps of a replay of all turns after the position `after`."""
    return Rewriting(packed(engine, again.state), again.links, tuple(again.snapshots), after)


def place_of(turn: Turn) -> int:
    """Where a turn stands in the order of folding: after all others before it is folded."""
    return LAST if turn.position is None else turn.position
