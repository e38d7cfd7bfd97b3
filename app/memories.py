"""A person's memory between database and engine: bytes become a state, turns are folded, adapters are at hand.

With `app/service.py` and `app/ledger.py` the only place that knows both what is kept and what remembers. Every verb
expects that its caller lets nobody else of this process change the same memory; another process is noticed by the
version.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.cache import AdapterCache
from app.errors import BadParcel, UserBusy
from app.history import History, place_of, rewriting
from app.ledger import (
    Cause,
    Verification,
    check_maker,
    digest_of,
    link_after,
    messages_of,
    packed,
    probe,
    replay,
    turn_of,
    unpack,
    unpacked,
    verified,
)
from app.merging import interleaved
from app.portable import Parcel, wrap
from app.proof import proven
from app.readout import Answer, Change, asked, changes, parts_of, read_out
from core.chat import Message
from storage.errors import AlreadyAnswered, AlreadyFolded, MemoryChanged, NotEmpty, NotFound
from storage.records import Folding, Memory, Receipt, Rewriting, Turn
from storage.store import Store

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine

# core brings torch along, which takes seconds: its modules are imported where an engine is there already.

FOLD_ATTEMPTS = 5


@dataclass(frozen=True)
class MemoryView:
    """A memory as a developer wants to see it; `norms` and `spectrum` have one entry per layer.

    `fullness` is the share of the state's directions in use; see benchmarks/capacity.py for what it means for recall.
    `left` is, for each turn, how much of it has not faded. `cache_a_token` is what one token in a prompt takes instead.
    """

    turns: list[Turn]
    nbytes: int
    fingerprint: str
    engine_fingerprint: str
    norms: list[float]
    spectrum: list[list[float]]
    fullness: float
    left: list[float]
    cache_a_token: int


class Memories:
    """Everybody's memories, each by its user's id."""

    def __init__(self, store: Store, cache_bytes: int) -> None:
        self._store = store
        self._history = History(store)
        self._adapters = AdapterCache(cache_bytes)

    @property
    def adapter_bytes(self) -> int:
        """Bytes of the adapters that are at hand."""
        return self._adapters.nbytes

    def settle(self, engine: Engine, user_id: int, abandoned_by: float = math.inf) -> Memory | None:
        """Answer and fold every outstanding turn of a person in order, each once; return the memory after it.

        A turn without a reply that may have been begun since the time `abandoned_by` stays as it is: another process
        may be writing it. Raise WrongModel before anything is changed. Costs one forward pass per outstanding turn.
        """
        memory = self.load(engine, user_id)
        changed = memory.updated_at if memory else 0.0  # a retry begins an old turn again, and changes the memory then
        for turn in self._store.unfolded_turns(user_id):
            if turn.reply_text is None and max(turn.created_at, changed) > abandoned_by:
                continue
            answered = self._answer_with_nothing(turn) if turn.reply_text is None else turn
            memory = self._fold(engine, memory, answered)
        return memory

    def load(self, engine: Engine, user_id: int) -> Memory | None:
        """The memory as it is stored; raise WrongModel unless the running model knows what it means."""
        memory = self._store.load_memory(user_id)
        if memory:
            check_maker(memory, engine)
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
        self._store.replace_memory(user_id, version, rewriting(engine, replay(engine, turns)))
        self.settle(engine, user_id)
        return len(self._store.held_turns(user_id))

    def verify(self, engine: Engine, user_id: int) -> Verification:
        """Replay the ledger and hold it against what is stored. Costs one forward pass per turn held."""
        return verified(engine, self.load(engine, user_id), self._store.held_turns(user_id))

    def causes(self, engine: Engine, turn: Turn, before: Sequence[Message], strength: float) -> list[Cause]:
        """The turns held when this one was answered, by how much they spoke for its reply, most first."""
        self.load(engine, turn.user_id)
        held = [other for other in self._store.held_turns(turn.user_id) if place_of(other) < place_of(turn)]
        if not held or not turn.reply_text:
            return []
        (influences,) = engine.influences(parts_of(engine, held), [[*before, *messages_of(turn)]], strength)
        causes = [Cause(other, influence) for other, influence in zip(held, influences, strict=True)]
        return sorted(causes, key=lambda cause: -cause.influence)

    def read_out(self, engine: Engine, user_id: int, sampling: Sampling, questions: Sequence[str]) -> list[Answer]:
        """What a memory gives for these questions, or for a list of its own, the surest answer first."""
        adapter = self.adapter(engine, user_id, self.load(engine, user_id))
        return read_out(engine, adapter, self._store.held_turns(user_id), sampling, questions)

    def adapter_after(self, engine: Engine, user_id: int, turn_id: int) -> Adapter:
        """The adapter of the memory as it was once this turn was folded. Raise NotFound for another's turn."""
        turn = self._store.load_turn(user_id, turn_id)
        return engine.materialise(self._history.state_before(engine, user_id, place_of(turn) + 1))

    def changes_since(self, engine: Engine, user_id: int, turn_id: int, sampling: Sampling) -> list[Change]:
        """What the memory is sure of now and was not after this turn, or the other way round."""
        memory, then = self.load(engine, user_id), self.adapter_after(engine, user_id, turn_id)
        return changes(asked(engine, then, sampling), asked(engine, self.adapter(engine, user_id, memory), sampling))

    def save_lora(self, engine: Engine, user_id: int, folder: Path, base: str, rank: int | None) -> float:
        """Write the memory as a LoRA for the base of this name; return what a smaller rank leaves out. See lora.py."""
        from core.lora import save_lora

        adapter = self.adapter(engine, user_id, self.load(engine, user_id))
        return save_lora(folder, engine.base, adapter, base, rank)

    def view(self, engine: Engine, user_id: int) -> MemoryView:
        """The ledger and the numbers of a memory, also of one that another model made."""
        turns, memory = self._store.held_turns(user_id), self._store.load_memory(user_id)
        if memory is None:
            return MemoryView(turns, 0, engine.fingerprint, engine.fingerprint, [], [], 0.0, [], engine.cache_a_token)
        state, header = unpacked(engine, memory), memory.header
        shape = (state.norms(), state.spectrum(), engine.fullness(state), engine.left([turn.pinned for turn in turns]))
        return MemoryView(turns, len(memory.blob), header.fingerprint, engine.fingerprint, *shape, engine.cache_a_token)

    def wrap(self, engine: Engine, user_id: int, texts: bool) -> bytes:
        """The memory, its ledger and the proof of both as the bytes of one file; raise BadParcel where nothing is held.

        Of a memory that another model made there is no proof. Costs one forward pass per turn held.
        """
        memory, turns = self._store.load_memory(user_id), self._store.held_turns(user_id)
        if memory is None:
            raise BadParcel("There is nothing in this memory yet; nothing was exported.")
        known = memory.header.fingerprint == engine.fingerprint
        proof = proven(engine, memory, turns, self._store.list_receipts(user_id)) if known else None
        return wrap(memory, turns, proof, texts)

    def take_in(self, engine: Engine, user_id: int, parcel: Parcel, merge: bool) -> int:
        """Take the turns of such a file in, among those held where `merge` says so; return how many were new.

        The memory is then that of all turns in the order of their times. Raise NotEmpty where some are held already and
        are not to be merged. Costs one forward pass per turn.
        """
        if not merge and (self._store.held_turns(user_id) or self._store.unfolded_turns(user_id)):
            raise NotEmpty("This name has turns already: take the memory in under another name, or merge the two.")
        memory = self.settle(engine, user_id, abandoned_by=0)
        held = self._store.held_turns(user_id)
        arriving = [turn_of(entry, number) for number, entry in enumerate(parcel.entries)]
        turns = interleaved(held, arriving)
        new = {turn.id: parcel.entries[place_of(turn)] for turn in turns if turn.id < 0}
        again, pinned = replay(engine, turns), {turn.id for turn in turns if turn.pinned}
        self._adapters.forget(user_id)
        rewritten = Rewriting(packed(engine, again.state), again.links)
        self._store.merge_memory(user_id, _version(memory), new, pinned, rewritten)
        return len(new)

    def reopen(self, engine: Engine, turn: Turn) -> tuple[Memory, Turn]:
        """Have a turn be as if just written, and the memory, bit for bit, the one before it was folded; or neither."""
        memory = self.settle(engine, turn.user_id)
        again = self._history.without(engine, turn.user_id, {turn.id})
        adapter = engine.materialise(unpack(again.packed.blob))  # now: once the reply is gone this must not fail
        self._adapters.forget(turn.user_id)
        before, reopened = self._store.reopen_turn(turn.user_id, turn.id, _version(memory), again)
        self._adapters.keep(turn.user_id, before.version, adapter)
        return before, reopened

    def forget_turns(self, engine: Engine, user_id: int, turn_ids: set[int]) -> Receipt:
        """Delete turns; the memory becomes, bit for bit, the one that never saw them, by replaying the others."""
        memory = self.settle(engine, user_id, abandoned_by=0)
        again = self._history.without(engine, user_id, turn_ids)
        gone = [turn for turn in self._store.held_turns(user_id) if turn.id in turn_ids]
        probed = probe(engine, unpacked(engine, memory), unpack(again.packed.blob), gone)
        self._adapters.forget(user_id)
        return self._store.forget_turns(user_id, turn_ids, _version(memory), again, probed)

    def pin(self, engine: Engine, user_id: int, turn_id: int, pinned: bool) -> None:
        """Have a held turn fade no more, or fade again; the memory becomes the one in which it always was so."""
        memory = self.settle(engine, user_id, abandoned_by=0)
        turn = self._held(user_id, turn_id)
        again = self._history.having(engine, replace(turn, pinned=pinned))
        self._store.pin_turn(user_id, turn_id, _version(memory), pinned, again)

    def correct(self, engine: Engine, user_id: int, turn_id: int, text: str, sampling: Sampling) -> Receipt:
        """Have a held turn say `text` instead, answered anew from what was known before it.

        The memory becomes the one that was told so from the start.
        """
        memory = self.settle(engine, user_id, abandoned_by=0)
        turn = self._held(user_id, turn_id)
        before = engine.materialise(self._history.state_before(engine, user_id, place_of(turn)))
        # A model over bytes can write a NUL, and no database keeps one.
        reply = "".join(engine.reply(before, [Message("user", text)], sampling)).replace("\0", "\ufffd")
        corrected = replace(turn, user_text=text, reply_text=reply)
        corrected = replace(corrected, tokens=engine.count_tokens(messages_of(corrected)))
        again = self._history.having(engine, corrected)
        probed = probe(engine, unpacked(engine, memory), unpack(again.packed.blob), [turn])
        self._adapters.forget(user_id)
        return self._store.correct_turn(user_id, corrected, _version(memory), again, probed)

    def _held(self, user_id: int, turn_id: int) -> Turn:
        turn = self._store.load_turn(user_id, turn_id)
        if turn.position is None:
            raise NotFound(f"Turn {turn_id} is not in the memory yet; wait until its reply has ended.")
        return turn

    def forget(self, user_id: int) -> Receipt:
        """Delete all of a person's turns and the memory, here and in the database."""
        self._adapters.forget(user_id)
        return self._store.forget_everything(user_id)

    def delete(self, user_id: int) -> None:
        """Delete a person with all that is kept of them, here and in the database; its files are to be erased then."""
        self._adapters.forget(user_id)
        self._store.delete_user(user_id)

    def _fold(self, engine: Engine, memory: Memory | None, turn: Turn) -> Memory | None:
        for _ in range(FOLD_ATTEMPTS):
            started = time.perf_counter()
            adapter = self._adapters.find(turn.user_id, memory.version) if memory else None
            state = engine.fold(unpacked(engine, memory), messages_of(turn), turn.pinned, adapter)
            seconds, tokens = time.perf_counter() - started, engine.count_tokens(messages_of(turn))
            link = link_after(self._store.last_link(turn.user_id) or "", turn, digest_of(state))
            new, folding = packed(engine, state), Folding(seconds, tokens, link)
            try:
                return self._store.commit_fold(turn.id, turn.user_id, _version(memory), new, folding)
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


def _version(memory: Memory | None) -> int:
    return memory.version if memory else 0
