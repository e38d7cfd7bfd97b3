"""What happens behind each button of the chat: values of the page in, values for the page out, streams as they come.

Knows in which order a page shows things; the rules are the service's, the words are `wording`'s, the layout is `ui`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from app import wording
from app.errors import NameMissing
from app.guards import SAME
from app.intake import text_of
from app.rendering import pairs, replied, turns_shown
from app.reply import Reading, Reply, Stream, TemporaryChat
from app.service import Service
from app.tab import Tab
from storage.records import Manner, User

Shown = tuple[Any, ...]
Here = int | TemporaryChat | None  # the conversation that a page shows: a stored one, a temporary one, or none yet
Answering = Generator[Shown, None, Shown]
EXAMPLES = [
    {"text": "My name is Ada and I live in Vienna.", "display_text": "1. My name is Ada and I live in Vienna."},
    {"text": "What is my name?", "display_text": "2. In a new conversation: What is my name?"},
]


class ChatHandlers:
    """The handlers of the chat over one service. Who is asking comes from the server's own session state."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._usual = service.manner(0, None)

    @property
    def usual(self) -> Shown:
        """How a conversation is answered of which nobody said how."""
        return self.manner_of(None, None)

    def start_anew(self, user: User | None, search: str = "") -> Shown:
        """An empty prompt: (conversation, conversations, chat, box, status).

        The conversations are those that are searched for.
        """
        return None, self._list(user, None, search), empty_chat(user), resting_box(user), self._status(user, None)

    def start_temporarily(self, user: User | None, search: str = "") -> Shown:
        """A conversation that reads the memory and leaves nothing: as `start_anew`."""
        owner, empty = named(user), gr.update(value=[], placeholder=wording.TEMPORARY, examples=[])
        return TemporaryChat(), self._list(owner, None, search), empty, resting_box(owner), self._status(owner, None)

    def open_conversation(self, user: User | None, conversation_id: int | None) -> Shown:
        """Show an earlier conversation: (strength, instructions, temperature), then as `start_anew`."""
        manner = self.manner_of(user, conversation_id)
        if conversation_id is None:
            return *manner, *self.start_anew(user)
        chat = self._chat(named(user), conversation_id)
        return *manner, conversation_id, SAME, chat, resting_box(user), self._status(user, conversation_id)

    def send(
        self, tab: Tab, number: int, user: User | None, here: Here, content: object, search: str = "", *dials: Any
    ) -> Iterator[Shown]:
        """Stream a turn: (conversation, conversations, chat, box, status). Nothing while one is being written.

        The conversations are those that are searched for; the `dials` are those of `manner_of`.
        """
        owner, text, manner = named(user), text_of(content), Manner(*dials)
        if isinstance(here, TemporaryChat):
            start = partial(self._service.send_temporarily, owner.id, here, text, manner)
            chat = pairs([*here.settled(), (text, "")])
            return self._in_place(tab, number, self._answer_temporarily(tab, number, owner, here, chat, start))
        answer = self._answer(tab, number, owner, search, partial(self._service.send, owner.id, here, text, manner))
        return self._in_place(tab, number, answer)

    def send_example(
        self, tab: Tab, number: int, user: User | None, here: Here, picked: gr.SelectData, search: str, *dials: Any
    ) -> Iterator[Shown]:
        """Send the example that was clicked: as `send`."""
        return self.send(tab, number, user, here, picked.value, search, *dials)

    def retry(
        self, tab: Tab, number: int, user: User | None, here: Here, search: str = "", *dials: Any
    ) -> Iterator[Shown]:
        """Have the last message answered anew: as `send`. Nothing where there is none."""
        owner, manner = named(user), Manner(*dials)
        if isinstance(here, int):
            answer = self._answer(tab, number, owner, search, partial(self._service.retry, owner.id, here, manner))
            return self._in_place(tab, number, answer)
        if here is None or not here.settled():
            return iter(())
        chat = pairs([*here.said[:-1], (here.said[-1][0], "")])
        start = partial(self._service.retry_temporarily, owner.id, here, manner)
        return self._in_place(tab, number, self._answer_temporarily(tab, number, owner, here, chat, start))

    def take_back(self, user: User | None, here: Here, search: str = "") -> Shown:
        """Forget the last turn and put its message back in the box: as `start_anew`. Nothing where there is none."""
        owner = named(user)
        if isinstance(here, TemporaryChat):
            text = here.said.pop()[0] if here.settled() else ""
            return here, SAME, pairs(here.said), resting_box(owner, text), self._status(owner, None)
        if here is None:
            return self.start_anew(owner, search)
        text = self._service.take_back(owner.id, here).user_text
        note = wording.status("Taken back, and forgotten", self._service.read(owner.id, None))
        if here not in [one.id for one in self._service.list_conversations(owner.id)]:
            return None, self._list(owner, None, search), empty_chat(owner), resting_box(owner, text), note
        return here, self._list(owner, here, search), self._chat(owner, here), resting_box(owner, text), note

    def save(self, tab: Tab, number: int, user: User | None, here: Here) -> Shown:
        """The conversation as Markdown, nothing where there is none: (text, status)."""
        return wording.markdown(self._said(user, here)), SAME

    def save_as_json(self, tab: Tab, number: int, user: User | None, here: Here) -> Shown:
        """The conversation as messages of OpenAI's form, nothing where there is none: (text, status)."""
        return wording.as_json(self._said(user, here)), SAME

    def _said(self, user: User | None, here: Here) -> list[tuple[str, str]]:
        if isinstance(here, TemporaryChat):
            return here.settled()
        turns = [] if user is None or here is None else self._service.load_turns(user.id, here)
        return [(turn.user_text, turn.reply_text or "") for turn in turns]

    @staticmethod
    def stop(tab: Tab, number: int) -> None:
        """End the reply that was being written at the click; its own stream then says so."""
        tab.stop(number)

    @staticmethod
    def _in_place(tab: Tab, number: int, answer: Answering) -> Iterator[Shown]:
        """Stream an answer as the tab's newest message, unless one is being written."""
        if not tab.begin(number):
            return
        try:
            rested = yield from answer
        finally:
            # Before the box rests: whoever sees it may send at once.
            tab.end(number)
        yield rested

    def _answer(self, tab: Tab, number: int, owner: User, search: str, start: Callable[[], Reply]) -> Answering:
        """Stream a turn until it is folded; return what is shown then."""
        if not self._service.is_ready:
            yield *[SAME] * 4, wording.status(wording.LOADING)
        reply = start()
        tab.answer(number, reply)
        conversation_id = reply.turn.conversation_id
        # By now the turn may be answered: its reply comes from the stream alone.
        before = self._chat(owner, conversation_id, before=reply.turn.id)
        chat, listed = [*before, *pairs([(reply.turn.user_text, "")])], self._list(owner, conversation_id, search)
        yield conversation_id, listed, chat, writing_box(), wording.status("Replying", reply.reading)
        yield from _growing(chat, reply)
        yield *[SAME] * 4, wording.status("Stopping" if reply.stopped.is_set() else "Folding", reply.reading)
        if reply.remembered.exception():
            yield SAME, SAME, self._chat(owner, conversation_id), SAME, SAME  # what is kept of it, before the sentence
        after = reply.remembered.result()
        note = f"Remembered in {after.seconds * 1000:.0f} ms"
        reading = Reading(reply.reading.prompt_tokens, after.held)
        chat = self._chat(owner, conversation_id)
        return SAME, SAME, chat, resting_box(owner), wording.status(note, reading)

    def _answer_temporarily(
        self,
        tab: Tab,
        number: int,
        owner: User,
        here: TemporaryChat,
        chat: list[dict[str, str]],
        start: Callable[[], Stream],
    ) -> Answering:
        """Stream a reply that is kept nowhere but on the page; return what is shown then."""
        if not self._service.is_ready:
            yield *[SAME] * 4, wording.status(wording.LOADING)
        stream = start()
        tab.answer(number, stream)
        yield SAME, SAME, chat, writing_box(), wording.status("Replying", stream.reading)
        yield from _growing(chat, stream)
        if stream.finished.exception() and stream.is_again:
            yield SAME, SAME, pairs(here.said), SAME, SAME  # the earlier reply, before the sentence
        stream.finished.result()
        return (
            SAME,
            SAME,
            pairs(here.said),
            resting_box(owner),
            wording.status("Not remembered: a temporary chat", stream.reading),
        )

    def explain(self, tab: Tab, number: int, user: User | None, here: Here) -> str:
        """The turns in memory that the last reply came from, and what would have been replied without any."""
        if isinstance(here, TemporaryChat):
            return wording.status(wording.UNEXPLAINED)
        owner = named(user)
        turns = self._service.load_turns(owner.id, here) if here is not None else []
        answered = [turn for turn in turns if turn.reply_text]
        if not answered:
            return ""
        causes = self._service.why(owner.id, answered[-1].id)
        return wording.causes_shown(causes, self._service.reply_without(owner.id, answered[-1].id))

    def manner_of(self, user: User | None, conversation_id: int | None) -> Shown:
        """How a conversation is answered: (strength, instructions, temperature)."""
        manner = (
            self._usual if user is None or conversation_id is None else self._service.manner(user.id, conversation_id)
        )
        return manner.strength, manner.instructions, manner.temperature

    def await_model(self, tab: Tab, number: int, user: User | None, here: Here) -> Shown:
        """While the model loads, and once it is there; a message says by itself what it waits for: (timer, status)."""
        timer = gr.Timer(active=False) if self._service.is_ready else SAME
        return timer, self._status(user, None if isinstance(here, TemporaryChat) else here)

    def _chat(self, user: User, conversation_id: int, before: float = math.inf) -> list[dict[str, str]]:
        turns = self._service.load_turns(user.id, conversation_id)
        return turns_shown([turn for turn in turns if turn.id < before])

    def _list(self, user: User | None, conversation_id: int | None, containing: str = "") -> Any:
        kept = [one for one in self._service.list_conversations(user.id, containing) if one.turns] if user else []
        return gr.update(choices=[(wording.excerpt(one.title), one.id) for one in kept], value=conversation_id)

    def _status(self, user: User | None, conversation_id: int | None) -> str:
        ready = self._service.is_ready
        if user is None:
            return wording.status(wording.NOBODY if ready else wording.LOADING)
        return wording.status("Ready" if ready else wording.LOADING, self._service.read(user.id, conversation_id))


def _growing(chat: Sequence[dict[str, str]], stream: Stream) -> Iterator[Shown]:
    """The chat with the reply under it, as the reply grows."""
    written = ""
    for piece in stream:
        written += piece
        yield SAME, SAME, [*chat, replied(written)], SAME, SAME


def named(user: User | None) -> User:
    """Return who is chatting; raise NameMissing before anybody said so."""
    if user is None:
        raise NameMissing("Nobody is named yet: write a name under 'Chat as' first, it owns the memory.")
    return user


def empty_chat(user: User | None) -> Any:
    """No messages, and what to do next."""
    if user is None:
        return gr.update(value=[], placeholder=wording.WHO, examples=None)
    return gr.update(value=[], placeholder=wording.WELCOME, examples=EXAMPLES)


def resting_box(user: User | None, text: str = "") -> Any:
    """The message box while nothing is being written; with `text` in it, if there is any."""
    hint = f"Message as {user.name}" if user else "Write a name under Chat as first"
    filled = {"value": text} if text else {}
    return gr.update(interactive=user is not None, placeholder=hint, submit_btn=True, stop_btn=False, **filled)


def writing_box() -> Any:
    """The message box while a reply is being written: emptied, with a stop button."""
    return gr.update(value="", submit_btn=False, stop_btn=True)
