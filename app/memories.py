"""A person's memory between database and engine: bytes become a state, turns are folded, adapters are at hand.

With `app/service.py` and `app/ledger.py` the only place that knows both what is kept and what remembers. Every verb
expects that its caller lets nobody else of this process change the same memory; another process is noticed by the
version.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cache import AdapterCache
from app.errors import BadParcel, UserBusy, WrongModel
from app.ledger import (
    Cause,
    Verification,
    is_close,
    link_after,
    messages_of,
    packed,
    replay,
    turn_of,
    unpacked,
    verified,
)
from app.portable import unwrap, wrap
from app.readout import Answer, read_out
from core.chat import Message
from storage.errors import AlreadyAnswered, AlreadyFolded, MemoryChanged
from storage.records import Entry, Folding, Memory, Packed, Receipt, Turn
from storage.store import Store

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine

# core brings torch along, which takes seconds: its modules are imported where an engine is there already.

FOLD_ATTEMPTS = 5
SHORT = 12


@dataclass(frozen=True)
class MemoryView:
    """A memory as a developer wants to see it; `norms` and `spectrum` have one entry per layer.

    `fullness` is the share of the state's directions in use; see benchmarks/capacity.py for what it means for recall.
    """

    turns: list[Turn]
    nbytes: int
    fingerprint: str
    engine_fingerprint: str
    norms: list[float]
    spectrum: list[list[float]]
    fullness: float


@dataclass(frozen=True)
class Adoption:
    """A memory from elsewhere that was found whole: its turns, the state they give here, and their links."""

    entries: list[Entry]
    packed: Packed
    links: list[str]


class Memories:
    """Everybody's memories, each by its user's id."""

    def __init__(self, store: Store, cache_bytes: int) -> None:
        self._store = store
        self._adapters = AdapterCache(cache_bytes)

    def settle(self, engine: Engine, user_id: int) -> Memory | None:
        """Answer and fold every outstanding turn of a person in order, each once; return the memory after it.

        Raise WrongModel before anything is changed. Costs one forward pass per outstanding turn.
        """
        memory = self.load(engine, user_id)
        for turn in self._store.unfolded_turns(user_id):
            answered = self._answer_with_nothing(turn) if turn.reply_text is None else turn
            memory = self._fold(engine, memory, answered)
        return memory

    def load(self, engine: Engine, user_id: int) -> Memory | None:
        """The memory as it is stored; raise WrongModel unless the running model knows what it means."""
        memory = self._store.load_memory(user_id)
        if memory:
            _check_maker(memory, engine)
        return memory

    def adapter(self, engine: Engine, user_id: int, memory: Memory | None) -> Adapter:
        """Return the adapter of exactly this memory; made only if it is not at hand."""
        version = memory.version if memory else 0
        adapter = self._adapters.find(user_id, version)
        if adapter is None:
            state = unpacked(engine, memory)
            engine.check_state(state)
            adapter = engine.materialise(state)
            self._adapters.keep(user_id, version, adapter)
        return adapter

    def rebuild(self, engine: Engine, user_id: int) -> int:
        """Fold all held turns again from nothing, and what is outstanding after them; return how many are held."""
        version, turns = self._store.memory_version(user_id), self._store.held_turns(user_id)
        again = replay(engine, turns)
        self._store.replace_memory(user_id, version, packed(engine, again.state), again.links)
        self.settle(engine, user_id)
        return len(self._store.held_turns(user_id))

    def verify(self, engine: Engine, user_id: int) -> Verification:
        """Replay the ledger and hold it against what is stored. Costs one forward pass per turn held."""
        return verified(engine, self.load(engine, user_id), self._store.held_turns(user_id))

    def causes(self, engine: Engine, turn: Turn, before: Sequence[Message], strength: float) -> list[Cause]:
        """The turns held when this one was answered, by how much they spoke for its reply, most first."""
        self.load(engine, turn.user_id)
        held = [other for other in self._store.held_turns(turn.user_id) if _came_before(other, turn)]
        if not held or not turn.reply_text:
            return []
        turns, exchange = [messages_of(other) for other in held], [*before, *messages_of(turn)]
        (influences,) = engine.influences(turns, [exchange], strength)
        causes = [Cause(other, influence) for other, influence in zip(held, influences, strict=True)]
        return sorted(causes, key=lambda cause: -cause.influence)

    def read_out(self, engine: Engine, user_id: int, sampling: Sampling) -> list[Answer]:
        """What a memory gives for a list of questions, the surest answer first."""
        memory = self.load(engine, user_id)
        adapter = self.adapter(engine, user_id, memory)
        return read_out(engine, adapter, self._store.held_turns(user_id), sampling)

    def view(self, engine: Engine, user_id: int) -> MemoryView:
        """The ledger and the numbers of a memory, also of one that another model made."""
        turns, memory = self._store.held_turns(user_id), self._store.load_memory(user_id)
        if memory is None:
            return MemoryView(turns, 0, engine.fingerprint, engine.fingerprint, [], [], 0.0)
        state, header = unpacked(engine, memory), memory.header
        shape = (state.norms(), state.spectrum(), engine.fullness(state))
        return MemoryView(turns, len(memory.blob), header.fingerprint, engine.fingerprint, *shape)

    def wrap(self, user_id: int) -> bytes:
        """The memory and its ledger as the bytes of one file; raise BadParcel where nothing is held."""
        memory = self._store.load_memory(user_id)
        if memory is None:
            raise BadParcel("There is nothing in this memory yet; nothing was exported.")
        return wrap(memory, self._store.held_turns(user_id))

    @staticmethod
    def unwrap(engine: Engine, data: bytes) -> Adoption:
        """What such a file holds, ready to be taken in.

        The turns are folded again here, and the state in the file has to be what they give; raise BadParcel if it is
        not. Costs one forward pass per turn.
        """
        parcel = unwrap(data)
        if parcel.packed.fingerprint != engine.fingerprint:
            raise BadParcel(
                f"The file's memory was made by model {parcel.packed.fingerprint[:SHORT]}, but model "
                f"{engine.fingerprint[:SHORT]} ({engine.name}) is running: start with the first one to take it in."
            )
        again = replay(engine, [turn_of(entry, number) for number, entry in enumerate(parcel.entries)])
        if not is_close(parcel.packed, again.state):
            raise BadParcel("The file's state is not what its turns give; it was changed, so export it again.")
        return Adoption(parcel.entries, packed(engine, again.state), list(again.links.values()))

    def adopt(self, user_id: int, adoption: Adoption) -> int:
        """Give it to a person who has no turns, or raise NotEmpty; return how many turns it holds."""
        self._store.adopt_memory(user_id, adoption.entries, adoption.packed, adoption.links)
        return len(adoption.entries)

    def reopen(self, engine: Engine, turn: Turn) -> tuple[Memory, Turn]:
        """Have a turn be as if just written, and the memory, bit for bit, the one before it was folded."""
        memory = self.settle(engine, turn.user_id)
        kept = [other for other in self._store.held_turns(turn.user_id) if other.id != turn.id]
        again = replay(engine, kept)
        self._adapters.forget(turn.user_id)
        version, state = memory.version if memory else 0, packed(engine, again.state)
        return self._store.reopen_turn(turn.user_id, turn.id, version, state, again.links)

    def forget_turns(self, engine: Engine, user_id: int, turn_ids: set[int]) -> Receipt:
        """Delete turns; the memory becomes, bit for bit, the one that never saw them, by replaying the others."""
        memory = self.settle(engine, user_id)
        kept = [turn for turn in self._store.held_turns(user_id) if turn.id not in turn_ids]
        again = replay(engine, kept)
        self._adapters.forget(user_id)
        version = memory.version if memory else 0
        return self._store.forget_turns(user_id, turn_ids, version, packed(engine, again.state), again.links)

    def forget(self, user_id: int) -> Receipt:
        """Delete all of a person's turns and the memory, here and in the database."""
        self._adapters.forget(user_id)
        return self._store.forget_everything(user_id)

    def _fold(self, engine: Engine, memory: Memory | None, turn: Turn) -> Memory | None:
        for _ in range(FOLD_ATTEMPTS):
            started = time.perf_counter()
            state = engine.fold(unpacked(engine, memory), messages_of(turn))
            seconds, tokens = time.perf_counter() - started, engine.count_tokens(messages_of(turn))
            link = link_after(self._store.last_link(turn.user_id) or "", turn, state)
            version, folding = memory.version if memory else 0, Folding(seconds, tokens, link)
            try:
                return self._store.commit_fold(turn.id, turn.user_id, version, packed(engine, state), folding)
            except MemoryChanged:
                memory = self.load(engine, turn.user_id)
            except AlreadyFolded:
                return self.load(engine, turn.user_id)
        raise UserBusy(f"The memory changed {FOLD_ATTEMPTS} times during one fold; close other programs that use it.")

    def _answer_with_nothing(self, turn: Turn) -> Turn:
        try:
            return self._store.answer_turn(turn.user_id, turn.id, "")
        except (AlreadyAnswered, AlreadyFolded):
            # Another process has finished it since we looked.
            turns = self._store.load_turns(turn.user_id, turn.conversation_id)
            return next(now for now in turns if now.id == turn.id)


def _came_before(other: Turn, turn: Turn) -> bool:
    """Whether a held turn was in the memory with which another one was answered."""
    return other.position is not None and (turn.position is None or other.position < turn.position)


def _check_maker(memory: Memory, engine: Engine) -> None:
    """Raise WrongModel unless the running model knows what the stored state means."""
    from core.state import FORMAT_VERSION

    made, runs = (memory.header.fingerprint, memory.header.format_version), (engine.fingerprint, FORMAT_VERSION)
    if made != runs:
        raise WrongModel(
            f"This memory was made by model {made[0][:SHORT]} (format {made[1]}), but model {runs[0][:SHORT]} "
            f"(format {runs[1]}, {engine.name}) is running: start with the first one again, or fold the stored turns "
            "anew with `python launch.py rebuild --user NAME`."
        )
