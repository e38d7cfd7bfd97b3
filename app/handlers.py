"""What happens behind each button: values of the page in, values for the page out, generators where something streams.

Knows in which order a page shows things; the rules are the service's, the words are `wording`'s, the layout is `ui`'s.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import gradio as gr

from app import wording
from app.errors import NameMissing
from app.guards import SAME
from app.intake import text_of
from app.plots import plot_norms, plot_spectrum
from app.reply import Reading, Stream, TemporaryChat
from app.service import Service
from app.tab import Tab
from storage.records import Receipt, User

Shown = tuple[Any, ...]
Here = int | TemporaryChat | None  # the conversation that a page shows: a stored one, a temporary one, or none yet
EXAMPLES = [
    {"text": "My name is Ada and I live in Vienna.", "display_text": "1. My name is Ada and I live in Vienna."},
    {"text": "What is my name?", "display_text": "2. In a new conversation: What is my name?"},
]


class Handlers:
    """The page's handlers over one service. Who is asking comes from the server's own session state."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def enter(self, name: str | None) -> Shown:
        """Chat as this name: (user, name, conversation, conversations, chat, box, status)."""
        user = self._service.ensure_user(name or "")
        return user, user.name, *self.start_anew(user)

    def start_anew(self, user: User | None) -> Shown:
        """An empty prompt: (conversation, conversations, chat, box, status)."""
        return None, self._list(user, None), empty_chat(user), resting_box(user), self._status(user, None)

    def start_temporarily(self, user: User | None) -> Shown:
        """A conversation that reads the memory and leaves nothing: (conversation, conversations, chat, box, status)."""
        owner, empty = named(user), gr.update(value=[], placeholder=wording.TEMPORARY, examples=None)
        return TemporaryChat(), self._list(owner, None), empty, resting_box(owner), self._status(owner, None)

    def open_conversation(self, user: User | None, conversation_id: int | None) -> Shown:
        """Show an earlier conversation: (conversation, conversations, chat, box, status)."""
        if conversation_id is None:
            return self.start_anew(user)
        chat = self._chat(named(user), conversation_id)
        return conversation_id, SAME, chat, resting_box(user), self._status(user, conversation_id)

    def send(
        self, tab: Tab, number: int, user: User | None, here: Here, strength: float, content: object
    ) -> Iterator[Shown]:
        """Stream a turn: (conversation, conversations, chat, box, status). Nothing while one is being written."""
        if not tab.begin(number):
            return
        try:
            owner, text = named(user), text_of(content)
            if isinstance(here, TemporaryChat):
                rested = yield from self._answer_temporarily(tab, number, owner, here, strength, text)
            else:
                rested = yield from self._answer(tab, number, owner, here, strength, text)
        finally:
            # Before the box rests: whoever sees it may send at once.
            tab.end(number)
        yield rested

    def _answer(
        self, tab: Tab, number: int, owner: User, conversation_id: int | None, strength: float, text: str
    ) -> Generator[Shown, None, Shown]:
        """Stream a turn until it is folded; return what is shown then."""
        if not self._service.is_ready:
            yield *[SAME] * 4, wording.status(wording.LOADING)
        reply = self._service.send(owner.id, conversation_id, text, strength)
        tab.answer(number, reply)
        conversation_id = reply.turn.conversation_id
        # By now the turn may be answered: its reply comes from the stream alone.
        before = self._chat(owner, conversation_id, before=reply.turn.id)
        chat, listed = [*before, *wording.both_sides(reply.turn)], self._list(owner, conversation_id)
        yield conversation_id, listed, chat, writing_box(), wording.status("Replying", reply.reading)
        yield from _growing(chat, reply)
        yield *[SAME] * 4, wording.status("Stopping" if reply.stopped.is_set() else "Folding", reply.reading)
        after = reply.remembered.result()
        note = f"Remembered in {after.seconds * 1000:.0f} ms"
        reading = Reading(reply.reading.prompt_tokens, after.turns, after.nbytes)
        return *[SAME] * 3, resting_box(owner), wording.status(note, reading)

    def _answer_temporarily(
        self, tab: Tab, number: int, owner: User, here: TemporaryChat, strength: float, text: str
    ) -> Generator[Shown, None, Shown]:
        """Stream a reply that is kept nowhere but on the page; return what is shown then."""
        if not self._service.is_ready:
            yield *[SAME] * 4, wording.status(wording.LOADING)
        chat = wording.pairs(here.said)
        stream = self._service.send_temporarily(owner.id, here, text, strength)
        tab.answer(number, stream)
        chat = [*chat, *wording.pairs([(text, "")])]
        yield SAME, SAME, chat, writing_box(), wording.status("Replying", stream.reading)
        yield from _growing(chat, stream)
        return *[SAME] * 3, resting_box(owner), wording.status("Not remembered: a temporary chat", stream.reading)

    def send_example(
        self, tab: Tab, number: int, user: User | None, here: Here, strength: float, picked: gr.SelectData
    ) -> Iterator[Shown]:
        """Send the example that was clicked: as `send`."""
        return self.send(tab, number, user, here, strength, picked.value)

    @staticmethod
    def stop(tab: Tab, number: int) -> None:
        """End the reply that was being written at the click; its own stream then says so."""
        tab.stop(number)

    def show_memory(self, user: User | None) -> Shown:
        """Fill the Memory tab: (table, norms, spectrum, forget button, confirmation, one turn, receipt, summary)."""
        if user is None:
            return *self.hidden_memory(), wording.summary(None, None)
        view = self._service.view_memory(user.id)
        norms = plot_norms(view.norms) if view.norms else None
        spectrum = plot_spectrum(view.spectrum) if view.spectrum else None
        forget = gr.update(interactive=bool(view.turns or view.nbytes))
        newest = "".join(map(wording.receipt_shown, self._service.list_receipts(user.id)[:1]))
        hiding = [gr.update(visible=False)] * 2
        return wording.rows_of(view), norms, spectrum, forget, *hiding, newest, wording.summary(user, view)

    @staticmethod
    def hidden_memory() -> Shown:
        """A Memory tab without anybody's memory: `show_memory` but for the summary."""
        return [], None, None, gr.update(interactive=False), *[gr.update(visible=False)] * 2, ""

    def forget(self, user: User | None) -> Shown:
        """Forget everything: (conversation, conversations, chat, box, status)."""
        owner = named(user)
        return self._after(owner, self._service.forget_everything(owner.id))

    def forget_turn(self, user: User | None, turn_id: int | None) -> Shown:
        """Forget one turn of the ledger: as `forget`."""
        owner = named(user)
        return self._after(owner, self._service.forget_turns(owner.id, [] if turn_id is None else [turn_id]))

    def forget_conversation(self, user: User | None, turn_id: int | None) -> Shown:
        """Forget the conversation of one turn of the ledger: as `forget`."""
        owner = named(user)
        if turn_id is None:
            return self.start_anew(owner)
        conversation_id = self._service.load_turn(owner.id, turn_id).conversation_id
        return self._after(owner, self._service.forget_conversation(owner.id, conversation_id))

    def _after(self, owner: User, receipt: Receipt) -> Shown:
        turns = wording.counted(receipt.turns, "turn")
        note = f"Forgotten: {turns} in {wording.counted(receipt.conversations, 'conversation')}"
        return *self.start_anew(owner)[:-1], wording.status(note, self._service.read(owner.id, None))

    def pick(self, tab: Tab, number: int, user: User | None, picked: gr.SelectData) -> Shown:
        """Show one turn of the ledger whole: (turn, its panel, its text)."""
        turn_id = int(picked.row_value[0])
        return turn_id, gr.update(visible=True), wording.turn_shown(self._service.load_turn(named(user).id, turn_id))

    def verify(self, tab: Tab, number: int, user: User | None) -> str:
        """Whether the memory is what its ledger gives."""
        return wording.status(wording.verdict(self._service.verify(named(user).id)))

    def read_out(self, tab: Tab, number: int, user: User | None) -> Iterator[str]:
        """What the memory alone answers to a list of questions."""
        owner = named(user)
        yield wording.status("Asking the memory")
        yield wording.readout_shown(self._service.read_out(owner.id))

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

    def show_strength(self, user: User | None, here: Here) -> float:
        """How much of the memory the conversation that was opened reads."""
        if user is None or here is None or isinstance(here, TemporaryChat):
            return 1.0
        return self._service.strength(user.id, here)

    def await_model(self, tab: Tab, _: int, user: User | None, here: Here) -> Shown:
        """While the model loads, and once it is there; a message says by itself what it waits for: (timer, status)."""
        if tab.has_sent:
            return gr.Timer(active=False), SAME
        timer = gr.Timer(active=False) if self._service.is_ready else SAME
        return timer, self._status(user, None if isinstance(here, TemporaryChat) else here)

    def _chat(self, user: User, conversation_id: int, before: float = math.inf) -> list[dict[str, str]]:
        turns = self._service.load_turns(user.id, conversation_id)
        return [message for turn in turns if turn.id < before for message in wording.both_sides(turn)]

    def _list(self, user: User | None, conversation_id: int | None) -> Any:
        kept = [one for one in self._service.list_conversations(user.id) if one.turns] if user else []
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
        yield SAME, SAME, [*chat, {"role": "assistant", "content": wording.inert(written)}], SAME, SAME


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


def resting_box(user: User | None) -> Any:
    """The message box while nothing is being written."""
    hint = f"Message as {user.name}" if user else "Write a name under Chat as first"
    return gr.update(interactive=user is not None, placeholder=hint, submit_btn=True, stop_btn=False)


def writing_box() -> Any:
    """The message box while a reply is being written: emptied, with a stop button."""
    return gr.update(value="", submit_btn=False, stop_btn=True)
