"""The ledger: what a memory holds, turn by turn, and the proof that its state comes of these turns and no others.

Each turn's link is a digest over the link before it, the turn's text and the state after it, so that replaying the
turns re-derives every link, and a change anywhere breaks the chain from there on. Works on an engine and plain records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING

from app.errors import WrongModel
from core.chat import Message
from storage.records import Entry, Memory, Packed, Probe, Snapshot, Turn, is_worth_keeping

if TYPE_CHECKING:
    from core.engine import Engine
    from core.state import State

SHORT = 12
COARSE = 0.1  # how far apart bfloat16 and float32 may fold a memory; the bundled model's are 0.02 (tests)
PROBED = 32  # turns, at most: each costs two forward passes

# core brings torch along, which takes seconds: its modules are imported where an engine is there already.


@dataclass(frozen=True)
class Replay:
    """A state made of turns, each turn's link by its id, and the states on the way that are worth keeping.

    `digests` has that of the state after each turn.
    """

    state: State
    links: dict[int, str]
    snapshots: list[Snapshot]
    digests: list[str]


@dataclass(frozen=True)
class Start:
    """Where a replay goes on from: the state, the link and the number of the turns so far."""

    state: State
    link: str = ""
    turns: int = 0


@dataclass(frozen=True)
class Verification:
    """What a replay found: whether the stored state is bit for bit that of the turns held, and each link as stored.

    `broken` is the first turn whose link is another one; `unlinked` turns were folded before there were links.
    `difference` is relative, see `distance`; `from_the_start` says whether no link is as stored.
    """

    turns: int
    unlinked: int
    broken: int | None
    state_matches: bool
    difference: float
    from_the_start: bool

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return self.state_matches and self.broken is None

    @property
    def is_of_another_number_type(self) -> bool:
        """Whether it could be what folding on another device changes, which begins with the first turn."""
        return not self.state_matches and self.difference <= COARSE and self.from_the_start


@dataclass(frozen=True)
class Cause:
    """A turn, and how much it spoke for a reply, in nats; see core/provenance.py."""

    turn: Turn
    influence: float


def replay(engine: Engine, turns: Sequence[Turn], start: Start | None = None, unlinked: int = 0) -> Replay:
    """Fold turns again from `start`, or from nothing, in their order; link all but the first `unlinked`.

    Costs one forward pass each.
    """
    start = start or Start(engine.empty_state())
    state, link, replayed = start.state, start.link, Replay(start.state, {}, [], [])
    for number, turn in enumerate(turns, start.turns):
        state = engine.fold(state, messages_of(turn), turn.pinned)
        replayed.digests.append(digest_of(state))
        if number >= unlinked:
            replayed.links[turn.id] = link = link_after(link, turn, replayed.digests[-1])
        if turn.position is not None and is_worth_keeping(number + 1, start.turns + len(turns)):
            replayed.snapshots.append(Snapshot(turn.position, number + 1, state.to_bytes()))
    engine.check_state(state)
    return replace(replayed, state=state)


def link_after(link: str, turn: Turn, state: str) -> str:
    """The link of a turn whose fold gave the state of this digest, after that of the turn before it ("" for none)."""
    return linked(link, said_in(turn), state)


def linked(*digests: str) -> str:
    """The digest over a link, a turn's texts and the state after it."""
    return digest("\n".join(digests).encode())


def said_in(turn: Turn | Entry) -> str:
    """The digest of both sides of a turn."""
    return digest("\0".join((turn.user_text, turn.reply_text or "")).encode())


def digest_of(state: State) -> str:
    """The digest by which links and receipts name a state."""
    return digest(state.to_bytes())


def verified(engine: Engine, memory: Memory | None, turns: Sequence[Turn]) -> Verification:
    """Hold a memory against a replay of its ledger."""
    unlinked = next((number for number, turn in enumerate(turns) if turn.link), len(turns))
    again, stored = replay(engine, turns, unlinked=unlinked), unpacked(engine, memory)
    broken = next((turn.id for turn in turns[unlinked:] if turn.link != again.links[turn.id]), None)
    same = stored.to_bytes() == again.state.to_bytes()
    linked = turns[unlinked:]
    from_the_start = bool(linked) and all(turn.link != again.links[turn.id] for turn in linked)
    return Verification(len(turns), unlinked, broken, same, distance(stored, again.state), from_the_start)


def distance(stored: State, state: State) -> float:
    """How far a stored state is from this one, relative to its largest entry; infinite where it is none."""
    pairs = ((stored.sums, state.sums), (stored.whole, state.whole))
    if any(one.shape != other.shape or not bool(one.isfinite().all()) for one, other in pairs):
        return inf
    return max(float((one - other).abs().max()) / max(1.0, float(other.abs().max())) for one, other in pairs)


def probe(engine: Engine, before: State, after: State, gone: Sequence[Turn]) -> Probe | None:
    """What two memories make of turns that only the first was told, or of some of them; None where there are none."""
    if not gone:
        return None
    said = [messages_of(turn) for turn in gone[:: -(-len(gone) // PROBED)]]
    return Probe(*(fmean(engine.recollections(engine.materialise(state), said)) for state in (before, after)))


def turn_of(entry: Entry, number: int) -> Turn:
    """A turn from elsewhere, the `number`th from 0, as it is replayed before it has a place here: its id is below 0."""
    values = {name: value for name, value in vars(entry).items() if name != "conversation"}
    return Turn(id=-1 - number, conversation_id=entry.conversation, user_id=0, position=number, link=None, **values)


def messages_of(turn: Turn) -> list[Message]:
    """Both sides of a turn, or the person's alone where there is no reply."""
    return pair_of(turn.user_text, turn.reply_text)


def pair_of(said: str, replied: str | None) -> list[Message]:
    """What a person said and what was replied, if anything was, as the model reads it."""
    return [Message("user", said), *([Message("assistant", replied)] if replied else [])]


def check_maker(memory: Memory, engine: Engine) -> None:
    """Raise WrongModel unless the running model knows what the stored state means."""
    from core.state import FORMAT_VERSION

    made, runs = (memory.header.fingerprint, memory.header.format_version), (engine.fingerprint, FORMAT_VERSION)
    if made != runs:
        raise WrongModel(
            f"This memory was made by model {made[0][:SHORT]} (format {made[1]}), but model {runs[0][:SHORT]} "
            f"(format {runs[1]}, {engine.name}) is running: start with the first one again, or fold the stored turns "
            "anew with `python launch.py rebuild --user NAME`."
        )


def packed(engine: Engine, state: State) -> Packed:
    """What the database keeps of a state."""
    from core.state import FORMAT_VERSION

    return Packed(state.to_bytes(), engine.fingerprint, FORMAT_VERSION)


def unpack(blob: bytes) -> State:
    """The state that is kept in bytes."""
    from core.state import State

    return State.from_bytes(blob)


def unpacked(engine: Engine, memory: Memory | None) -> State:
    """The state of a memory, an empty one where there is none."""
    return unpack(memory.blob) if memory else engine.empty_state()


def digest(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()
