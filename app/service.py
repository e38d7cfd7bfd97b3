"""The rules of a turn: stored, answered with the person's adapter, stored with its reply, then folded, in this order.

One person's turns go one after another; a slow forward pass never happens inside a transaction, and nothing is held
open while a reply streams. Knows no pages and no terminal; torch is there only once an engine is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event, Lock
from time import perf_counter
from typing import TYPE_CHECKING

from app.errors import EXPECTED, BadMessage, ModelLoading, NameMissing, ShuttingDown, UserBusy
from app.intake import checked_text
from app.ledger import Cause, Verification, messages_of
from app.memories import Memories, MemoryView
from app.reply import Reading, Remembered, Reply
from app.settings import Settings
from core.chat import Message
from storage.records import Conversation, Memory, Receipt, Turn, User
from storage.store import Store

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine

log = logging.getLogger(__name__)


class Service:
    """Everything a page or a terminal may ask for. Safe to use from any thread."""

    def __init__(self, store: Store, engine: Future[Engine], settings: Settings) -> None:
        self._store = store
        self._engine = engine
        self._settings = settings
        self._memories = Memories(store, settings.adapter_cache_bytes)
        self._workers = ThreadPoolExecutor(settings.replies_at_once, thread_name_prefix="turn")
        self._gates: dict[int, Lock] = {}
        self._running: dict[int, Reply] = {}
        self._closing = Event()

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded; raise what its loading raised."""
        return self._engine.done() and bool(self._engine.result())

    def ensure_user(self, name: str) -> User:
        """Return the person of this name, who is new if nobody had it."""
        return self._store.ensure_user(name)

    def load_user(self, name: str) -> User:
        """Return the person of this name; raise NameMissing where nobody has it."""
        user = self._store.find_user(name)
        if user is None:
            raise NameMissing(f"Nobody in this database is named {name!r}; check the spelling and the database.")
        return user

    def list_conversations(self, user_id: int) -> list[Conversation]:
        """Newest first."""
        return self._store.list_conversations(user_id)

    def load_turns(self, user_id: int, conversation_id: int) -> list[Turn]:
        """Oldest first; raise NotFound unless the conversation is this person's."""
        return self._store.load_turns(user_id, conversation_id)

    def send(self, user_id: int, conversation_id: int | None, text: str) -> Reply:
        """Store a message, start its reply, and fold the turn once the reply has ended or was stopped.

        The turn is durable when this returns; where no conversation is given a new one is started. Waits for the
        person's turn before, so that what was said there is known here. Whatever is refused has changed nothing.
        """
        text = checked_text(text, self._settings.message_characters)
        engine = self._engine.result()
        with ExitStack() as held:
            held.enter_context(self._alone(user_id))
            memory = self._memories.settle(engine, user_id)
            adapter = self._memories.adapter(engine, user_id, memory)
            messages, tokens = self._prompt(engine, user_id, conversation_id, text)
            if conversation_id is None:
                conversation_id = self._store.start_conversation(user_id).id
            turn = self._store.append_turn(user_id, conversation_id, text)
            reply = Reply(turn, Reading(tokens, *_size(memory)))
            self._running[user_id] = reply
            held.callback(self._running.pop, user_id)
            reply.remembered = self._workers.submit(self._finish, engine, adapter, messages, reply, held.pop_all())
        reply.remembered.add_done_callback(_log_failure)
        return reply

    def read(self, user_id: int, conversation_id: int | None) -> Reading:
        """What the model would read now, before the next message."""
        recent = [] if conversation_id is None or not self.is_ready else self._recent(user_id, conversation_id)
        tokens = self._engine.result().count_tokens(recent) if recent else 0
        memory = self._store.load_memory(user_id)
        return Reading(tokens, *_size(memory))

    def held_turns(self, user_id: int) -> list[Turn]:
        """The ledger: the turns in a memory, in the order of their folding."""
        return self._store.held_turns(user_id)

    def load_turn(self, user_id: int, turn_id: int) -> Turn:
        """Raise NotFound unless the turn is this person's."""
        return self._store.load_turn(user_id, turn_id)

    def view_memory(self, user_id: int, wait: bool = False) -> MemoryView:
        """The ledger and the numbers of a memory; before the model is there `wait` for it, or raise ModelLoading."""
        if not (wait or self.is_ready):
            raise ModelLoading("The model is still loading; look again in a few seconds.")
        return self._memories.view(self._engine.result(), user_id)

    def forget_turns(self, user_id: int, turn_ids: Collection[int]) -> Receipt:
        """Delete these turns for good; the memory is then the one that never saw them.

        Costs a forward pass per turn left. Raise NotFound, with nothing deleted, unless all of them are this person's.
        """
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.forget_turns(engine, user_id, set(turn_ids))

    def forget_conversation(self, user_id: int, conversation_id: int) -> Receipt:
        """Delete a conversation and its turns, as `forget_turns`; a reply being written is finished first."""
        engine = self._engine.result()
        with self._alone(user_id):
            turns = self._store.load_turns(user_id, conversation_id)
            return self._memories.forget_turns(engine, user_id, {turn.id for turn in turns})

    def list_receipts(self, user_id: int) -> list[Receipt]:
        """What was forgotten, newest first; texts are not in it."""
        return self._store.list_receipts(user_id)

    def export_memory(self, user_id: int) -> bytes:
        """The memory and its ledger as the bytes of one file."""
        with self._alone(user_id):
            return self._memories.wrap(user_id)

    def import_memory(self, name: str, data: bytes) -> int:
        """Take in what `export_memory` gave, for a person of this name who has no turns; return how many it holds.

        Whatever is not whole, unchanged, and of the running model is refused in one sentence and changes nothing.
        """
        adoption = self._memories.unwrap(self._engine.result(), data)
        user = self._store.ensure_user(name)
        with self._alone(user.id):
            return self._memories.adopt(user.id, adoption)

    def verify(self, user_id: int) -> Verification:
        """Whether the memory is, bit for bit, what its ledger gives; costs a forward pass per turn held."""
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.verify(engine, user_id)

    def why(self, user_id: int, turn_id: int) -> list[Cause]:
        """The turns in memory that a reply came from, the one that spoke for it most first."""
        engine = self._engine.result()
        turn = self._store.load_turn(user_id, turn_id)
        messages, _ = self._prompt(engine, user_id, turn.conversation_id, turn.user_text, before=turn.id)
        return self._memories.causes(engine, turn, messages[:-1])

    def forget_everything(self, user_id: int) -> Receipt:
        """Delete all of a person's turns and the memory; what is being written is stopped first."""
        if reply := self._running.get(user_id):
            reply.stop()
        with self._alone(user_id):
            return self._memories.forget(user_id)

    def rebuild(self, user_id: int) -> int:
        """Fold all stored turns again, from nothing, with the running model; return how many."""
        engine = self._engine.result()
        with self._alone(user_id):
            return self._memories.rebuild(engine, user_id)

    def recover(self) -> int:
        """Make good what a crash left: answer and fold every outstanding turn, once; return how many there were.

        A person whose memory cannot be used is passed over: their next message says why.
        """
        engine = self._engine.result()
        outstanding = self._store.unfolded_turns()
        for user_id in sorted({turn.user_id for turn in outstanding}):
            try:
                with self._alone(user_id):
                    self._memories.settle(engine, user_id)
            except EXPECTED as error:
                log.warning("user %d: turns wait to be folded: %s", user_id, type(error).__name__)
        self._store.finish_erasing()
        return len(outstanding)

    def close(self) -> None:
        """Take nothing new; stop what is being written, and return when all of it is stored and folded."""
        self._closing.set()
        for reply in list(self._running.values()):
            reply.stop()
        self._workers.shutdown(wait=True)

    @contextmanager
    def _alone(self, user_id: int) -> Iterator[None]:
        """Hold a person's gate; another thread than the one that took it may let it go."""
        gate = self._gates.setdefault(user_id, Lock())
        if not gate.acquire(timeout=self._settings.patience_seconds):
            raise UserBusy(
                f"Another message under this name is still being answered after {self._settings.patience_seconds:g} "
                "seconds; stop it, or wait and send this one again."
            )
        try:
            if self._closing.is_set():
                raise ShuttingDown("Imprint is shutting down; send the message again when it is back.")
            yield
        finally:
            gate.release()

    def _finish(
        self, engine: Engine, adapter: Adapter, messages: Sequence[Message], reply: Reply, held: ExitStack
    ) -> Remembered:
        """A worker's part of a turn: write the reply, store it, fold, and have the new adapter ready."""
        turn = reply.turn
        with held:
            try:
                reply.write(engine.reply(adapter, messages, self._sampling(), reply.stopped))
            finally:
                self._store.answer_turn(turn.user_id, turn.id, reply.end())
            started = perf_counter()
            memory = self._memories.settle(engine, turn.user_id)
            self._memories.adapter(engine, turn.user_id, memory)
            return Remembered(perf_counter() - started, *_size(memory))

    def _prompt(
        self, engine: Engine, user_id: int, conversation_id: int | None, text: str, before: float = math.inf
    ) -> tuple[list[Message], int]:
        """The last turns of this conversation and the message, as much as the model can read; and their tokens.

        Of the conversation only turns with an id below `before`.
        """
        recent = [] if conversation_id is None else self._recent(user_id, conversation_id, before)
        # Every turn in it has two sides, so a step of two leaves whole turns; the last step leaves the message alone.
        for left_out in range(0, len(recent) + 1, 2):
            messages = [*recent[left_out:], Message("user", text)]
            tokens = engine.count_tokens(messages)
            if tokens <= engine.max_prompt_tokens:
                return messages, tokens
        raise BadMessage(
            f"The message has {tokens:,} tokens and the model reads at most {engine.max_prompt_tokens:,}; shorten it."
        )

    def _recent(self, user_id: int, conversation_id: int, before: float = math.inf) -> list[Message]:
        """Both sides of the last answered turns of a conversation, oldest first."""
        turns = self._store.load_turns(user_id, conversation_id)
        answered = [turn for turn in turns if turn.reply_text and turn.id < before]
        kept = answered[max(0, len(answered) - self._settings.turns_in_prompt) :]
        return [message for turn in kept for message in messages_of(turn)]

    def _sampling(self) -> Sampling:
        from core.decoding import Sampling

        chosen = self._settings
        return Sampling(chosen.reply_tokens, chosen.temperature, chosen.top_p, chosen.seed)


def _size(memory: Memory | None) -> tuple[int, int]:
    """Turns held in a memory, and its bytes."""
    return (memory.header.turns_folded, len(memory.blob)) if memory else (0, 0)


def _log_failure(job: Future[Remembered]) -> None:
    if error := job.exception():
        log.warning("a turn is stored but not finished: %s", type(error).__name__)
