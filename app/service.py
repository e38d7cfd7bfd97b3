"""The rules of a turn: stored, answered with the person's adapter, stored with its reply, then folded, in this order.

One person's turns go one after another; a slow forward pass never happens inside a transaction, and nothing is held
open while a reply streams. Knows no pages and no terminal; torch is there only once an engine is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from contextvars import copy_context
from secrets import randbits
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, TypeVar

from app.asking import PLAIN, Asking, Given, fitted, instructed
from app.errors import EXPECTED
from app.intake import checked_text
from app.ledger import Cause, messages_of, pair_of
from app.logs import EVENT, figures_of
from app.reply import Held, Reading, Remembered, Reply, Stream, TemporaryChat
from app.talks import Talks
from core.chat import Message
from storage.errors import NotFound
from storage.records import Manner, Memory, Turn

if TYPE_CHECKING:
    from core.adapter import Adapter
    from core.decoding import Sampling
    from core.engine import Engine

Said = TypeVar("Said")

RETRY_TEMPERATURE, RETRY_TOP_P = 0.8, 0.95
LONGEST_REPLY = 600.0  # seconds; no setting bounds one, but it outlasts five times the patience of whoever waits for it

log = logging.getLogger(__name__)


class Service(Talks):
    """Everything a page or a terminal may ask for. Safe to use from any thread."""

    def send(
        self,
        user_id: int,
        conversation_id: int | None,
        text: str,
        manner: Manner | None = None,
        given: Given | None = None,
    ) -> Reply:
        """Store a message, start its reply, and fold the turn once the reply has ended or was stopped.

        The turn is durable when this returns; where no conversation is given a new one is started. `manner`, where
        it is given, is how the conversation is answered from now on. Waits for the person's turn before, so that what
        was said there is known here. Whatever is refused has changed nothing.
        """
        text = checked_text(text, self._settings.message_characters)
        manner = self._wanted(user_id, conversation_id, manner)
        engine, sampling = self._engine.result(), self._words(manner, given)
        self._pace.take(user_id)
        with ExitStack() as held:
            held.enter_context(self._alone(user_id))
            memory = self._memories.settle(engine, user_id)
            recent = (given or Given()).messages(self._recent(user_id, conversation_id))
            messages, tokens = fitted(engine, instructed(manner, recent), text)
            self._shares.check(user_id, conversation_id is None, len(text.encode()))
            adapter = self._adapter(engine, user_id, memory, manner.strength)
            if conversation_id is None:
                conversation_id = self._store.start_conversation(user_id).id
            self._keep_manner(user_id, conversation_id, manner)
            turn = self._store.append_turn(user_id, conversation_id, text)
            reply = Reply(turn, Reading(tokens, self._held(user_id, memory)))
            return self._begin(held, engine, reply, Asking(adapter, messages, sampling))

    def retry(self, user_id: int, conversation_id: int, manner: Manner | None = None) -> Reply:
        """Answer the last turn of a conversation anew, with chance, from the memory that never saw it.

        The turn stays stored throughout, and is folded with its new reply, or with the earlier one where none comes;
        `manner` is as for `send`. Raise NotFound where there is no turn. Whatever is refused has changed nothing.
        """
        manner = self._wanted(user_id, conversation_id, manner)
        engine = self._engine.result()
        self._pace.take(user_id)
        with ExitStack() as held:
            held.enter_context(self._alone(user_id))
            last = self._last_turn(user_id, conversation_id)
            recent = instructed(manner, self._recent(user_id, conversation_id, before=last.id))
            messages, tokens = fitted(engine, recent, last.user_text)
            memory, turn = self._memories.reopen(engine, last)
            self._keep_manner(user_id, conversation_id, manner)
            adapter = self._adapter(engine, user_id, memory, manner.strength)
            reply = Reply(turn, Reading(tokens, self._held(user_id, memory)), last.reply_text)
            return self._begin(held, engine, reply, Asking(adapter, messages, self._chance(manner)))

    def take_back(self, user_id: int, conversation_id: int) -> Turn:
        """Forget the last turn of a conversation as `forget_turns` does, and return it once more.

        Raise NotFound where there is no turn.
        """
        engine = self._engine.result()
        with self._alone(user_id):
            turn = self._last_turn(user_id, conversation_id)
            self._memories.forget_turns(engine, user_id, {turn.id})
            return turn

    def send_temporarily(
        self, user_id: int, chat: TemporaryChat, text: str, manner: Manner = PLAIN, given: Given | None = None
    ) -> Stream:
        """Start a reply that reads the memory and leaves nothing anywhere: no row, no fold, no line in a log."""
        own = [one for said in self._last(chat.settled()) for one in pair_of(*said)]
        said, manner = [*(given or Given()).messages(own), Message("user", text)], self._checked(manner)
        return self._reply_temporarily(user_id, chat, said, manner, self._words(manner, given))

    def retry_temporarily(self, user_id: int, chat: TemporaryChat, manner: Manner = PLAIN) -> Stream:
        """Answer the last message of such a chat anew, with chance."""
        manner = self._checked(manner)
        if not chat.settled():
            raise NotFound("There is no turn in this temporary chat.")
        *before, (text, earlier) = chat.said
        said = [*(one for pair in self._last(before) for one in pair_of(*pair)), Message("user", text)]
        return self._reply_temporarily(user_id, chat, said, manner, self._chance(manner), earlier)

    def _reply_temporarily(
        self,
        user_id: int,
        chat: TemporaryChat,
        said: Sequence[Message],
        manner: Manner,
        sampling: Sampling,
        earlier: str | None = None,
    ) -> Stream:
        text = checked_text(said[-1].text, self._settings.message_characters)
        engine = self._engine.result()
        self._pace.take(user_id)
        with self._alone(user_id):
            memory = self._memories.load(engine, user_id)
            if chat.as_of is None:
                adapter = self._adapter(engine, user_id, memory, manner.strength)
            else:
                adapter = self._memories.adapter_after(engine, user_id, chat.as_of).scaled(manner.strength)
        messages, tokens = fitted(engine, instructed(manner, said[:-1]), text)
        stream = Stream(Reading(tokens, self._held(user_id, memory)), earlier)
        asking = Asking(adapter, messages, sampling)
        job = self._workers.submit(copy_context().run, self._whisper, engine, user_id, asking, stream, chat)
        job.add_done_callback(self._note_failure)
        stream.finished = chat.writing = job
        return stream

    def read(self, user_id: int, conversation_id: int | None) -> Reading:
        """What the model would read now, before the next message."""
        recent = self._recent(user_id, conversation_id) if self.is_ready else []
        tokens = self._engine.result().count_tokens(recent) if recent else 0
        memory = self._store.load_memory(user_id)
        return Reading(tokens, self._held(user_id, memory))

    def why(self, user_id: int, turn_id: int) -> list[Cause]:
        """The turns in memory that a reply came from, the one that spoke for it most first."""
        engine = self._engine.result()
        turn = self._store.load_turn(user_id, turn_id)
        strength = self.manner(user_id, turn.conversation_id).strength
        return self._memories.causes(engine, turn, self._messages_to(engine, turn)[:-1], strength)

    def reply_without(self, user_id: int, turn_id: int) -> str:
        """What would be replied to this turn with nothing in memory, all else being the same."""
        engine = self._engine.result()
        messages = self._messages_to(engine, self._store.load_turn(user_id, turn_id))
        return "".join(engine.reply(None, messages, self._sampling()))

    def recover(self, seconds: float = LONGEST_REPLY) -> int:
        """Make good what a crash left: answer and fold every outstanding turn, once; return how many that were.

        Passed over, until their person's next message, are turns whose reply was begun less than so many `seconds` ago:
        another process may be writing it. So is a person whose memory cannot be used: their next message says why.
        """
        engine, abandoned_by = self._engine.result(), time() - seconds
        outstanding = self._store.unfolded_turns()
        for user_id in sorted({turn.user_id for turn in outstanding}):
            try:
                with self._alone(user_id):
                    self._memories.settle(engine, user_id, abandoned_by)
            except EXPECTED as error:
                log.warning("user %d: turns wait to be folded: %s", user_id, type(error).__name__)
        self.finish_erasing()
        left = {turn.id for turn in self._store.unfolded_turns()}
        return sum(turn.id not in left for turn in outstanding)

    def close(self) -> None:
        """Take nothing new; stop what is being written, and return when all of it is stored and folded."""
        self._closing.set()
        self._stop_all()
        self._workers.shutdown(wait=True)

    def _begin(self, held: ExitStack, engine: Engine, reply: Reply, asking: Asking) -> Reply:
        """Have a worker write the reply; it holds what is `held` until the turn is folded, and knows who asks."""
        held.enter_context(self._noted(reply.turn.user_id, reply))
        reply.remembered = self._workers.submit(copy_context().run, self._finish, engine, asking, reply, held.pop_all())
        reply.remembered.add_done_callback(self._note_failure)
        reply.finished = reply.remembered
        return reply

    def _finish(self, engine: Engine, asking: Asking, reply: Reply, held: ExitStack) -> Remembered:
        """A worker's part of a turn: write the reply, store it, fold, and have the new adapter ready."""
        turn = reply.turn
        with held:
            try:
                reply.write(self.metrics.timed(reply, engine.reply(*asking, reply.stopped)))
            finally:
                self._store.answer_turn(turn.user_id, turn.id, reply.end() or reply.earlier)
            started = perf_counter()
            memory = self._memories.settle(engine, turn.user_id)
            self._memories.adapter(engine, turn.user_id, memory)
            seconds = perf_counter() - started
            self.metrics.fold.observe(seconds)
            log.info("remembered", extra={EVENT: figures_of(reply, started, seconds)})
            return Remembered(seconds, self._held(turn.user_id, memory))

    def _whisper(self, engine: Engine, user_id: int, asking: Asking, stream: Stream, chat: TemporaryChat) -> None:
        """A worker's part of a temporary reply: write it, and note it in the chat alone, unless it failed."""
        with self._noted(user_id, stream):
            try:
                stream.write(self.metrics.timed(stream, engine.reply(*asking, stream.stopped)))
            finally:
                text = stream.end() or stream.earlier
            chat.said[len(chat.said) - stream.is_again :] = [(asking.messages[-1].text, text)]

    def _note_failure(self, job: Future[Any]) -> None:
        if error := job.exception():
            self.metrics.failed(error)
            log.warning("a reply is not finished; its turn, if it has one, is stored: %s", type(error).__name__)

    def _last_turn(self, user_id: int, conversation_id: int) -> Turn:
        turns = self._store.load_turns(user_id, conversation_id)
        if not turns:
            raise NotFound(f"There is no turn in conversation {conversation_id}.")
        return turns[-1]

    def _adapter(self, engine: Engine, user_id: int, memory: Memory | None, strength: float) -> Adapter | None:
        """The memory at this strength; None at none, which leaves the base as it is, bit for bit."""
        if not strength:
            return None
        adapter = self._memories.adapter(engine, user_id, memory)
        return adapter if strength == 1 else adapter.scaled(strength)

    def _messages_to(self, engine: Engine, turn: Turn) -> list[Message]:
        """What was read before a turn was answered, its message last."""
        recent = self._recent(turn.user_id, turn.conversation_id, before=turn.id)
        manner = self.manner(turn.user_id, turn.conversation_id)
        return fitted(engine, instructed(manner, recent), turn.user_text)[0]

    def _recent(self, user_id: int, conversation_id: int | None, before: float = math.inf) -> list[Message]:
        """Both sides of the last answered turns of a conversation, oldest first; of those with an id below `before`."""
        if conversation_id is None:
            return []
        turns = self._store.load_turns(user_id, conversation_id)
        answered = [turn for turn in turns if turn.reply_text and turn.id < before]
        return [message for turn in self._last(answered) for message in messages_of(turn)]

    def _last(self, turns: Sequence[Said]) -> Sequence[Said]:
        """As many of the turns as stay in the prompt."""
        return turns[max(0, len(turns) - self._settings.turns_in_prompt) :]

    def _words(self, manner: Manner, given: Given | None) -> Sampling:
        """How words are chosen: as is given, or else in this manner."""
        return self._sampling(**{"temperature": manner.temperature, **(given.sampling if given else {})})

    def _chance(self, manner: Manner) -> Sampling:
        """For a retry: greedily the same reply would come once more."""
        warm = max(manner.temperature or 0.0, RETRY_TEMPERATURE)
        return self._sampling(temperature=warm, top_p=min(self._settings.top_p, RETRY_TOP_P), seed=randbits(31))

    def _held(self, user_id: int, memory: Memory | None) -> Held:
        if memory is None:
            return Held(0, 0, 0)
        return Held(memory.header.turns_folded, len(memory.blob), self._store.held_tokens(user_id))
