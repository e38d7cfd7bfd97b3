"""What happens behind each button: values of the page in, values for the page out, generators where something streams.

Knows in which order a page shows things; the rules are the service's, the words are `wording`'s, the layout is `ui`'s.
"""

from __future__ import annotations

import functools
import logging
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from app import wording
from app.errors import EXPECTED, AppError, NameMissing, sentence_of
from app.intake import text_of
from app.plots import plot_norms, plot_spectrum
from app.reply import Reading
from app.service import Service
from storage.records import User

log = logging.getLogger(__name__)

Shown = tuple[Any, ...]
SAME = gr.skip()
EXAMPLES = [
    {"text": "My name is Ada and I live in Vienna.", "display_text": "1. My name is Ada and I live in Vienna."},
    {"text": "What is my name?", "display_text": "2. In a new conversation: What is my name?"},
]


def guarded(handler: Callable[..., Any], on_error: Sequence[Any]) -> Callable[..., Iterator[Any]]:
    """The outermost handler: what goes wrong becomes one sentence in the last output, the others get `on_error`."""

    @functools.wraps(handler)
    def outermost(*values: Any) -> Iterator[Any]:
        try:
            shown = handler(*values)
            if isinstance(shown, Iterator):
                yield from shown
            else:
                yield shown
        except Exception as error:
            _note(error)
            yield *on_error, wording.alert(sentence_of(error))

    return outermost


def _note(error: Exception) -> None:
    """Log the kind of an error, and the place of an unexpected one; its text may hold what people wrote."""
    where = "" if isinstance(error, EXPECTED) else "\n" + "".join(traceback.format_tb(error.__traceback__))
    log.log(logging.INFO if isinstance(error, AppError) else logging.WARNING, "%s%s", type(error).__name__, where)


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

    def open_conversation(self, user: User | None, conversation_id: int | None) -> Shown:
        """Show an earlier conversation: (conversation, conversations, chat, box, status)."""
        if conversation_id is None:
            return self.start_anew(user)
        chat = self._chat(named(user), conversation_id)
        return conversation_id, SAME, chat, resting_box(user), self._status(user, conversation_id)

    def send(self, user: User | None, conversation_id: int | None, content: object) -> Iterator[Shown]:
        """Stream a turn: (conversation, conversations, chat, box, status)."""
        owner = named(user)
        if not self._service.is_ready:
            yield *[SAME] * 4, wording.status(wording.LOADING)
        reply = self._service.send(owner.id, conversation_id, text_of(content))
        conversation_id = reply.turn.conversation_id
        # By now the turn may be answered: its reply comes from the stream alone.
        before = self._chat(owner, conversation_id, before=reply.turn.id)
        chat, written = [*before, *wording.both_sides(reply.turn)], ""
        listed = self._list(owner, conversation_id)
        yield conversation_id, listed, chat, writing_box(), wording.status("Replying", reply.reading)
        for piece in reply:
            written += piece
            yield SAME, SAME, [*chat, {"role": "assistant", "content": wording.inert(written)}], SAME, SAME
        yield *[SAME] * 4, wording.status("Folding", reply.reading)
        after = reply.remembered.result()
        note = f"Remembered in {after.seconds * 1000:.0f} ms"
        reading = Reading(reply.reading.prompt_tokens, after.turns, after.nbytes)
        yield *[SAME] * 3, resting_box(user), wording.status(note, reading)

    def send_example(self, user: User | None, conversation_id: int | None, picked: gr.SelectData) -> Iterator[Shown]:
        """Send the example that was clicked: as `send`."""
        return self.send(user, conversation_id, picked.value)

    def stop(self, user: User | None, conversation_id: int | None) -> str:
        """End the running reply, its stream then finishes by itself: status."""
        self._service.stop(named(user).id, conversation_id)
        return wording.status("Stopping")

    def show_memory(self, user: User | None) -> Shown:
        """Fill the Memory tab: (table, norms, spectrum, forget button, confirmation, summary)."""
        if user is None:
            return *self.hidden_memory(), wording.summary(None, None)
        view = self._service.view_memory(user.id)
        norms = plot_norms(view.norms) if view.norms else None
        spectrum = plot_spectrum(view.spectrum) if view.spectrum else None
        forget = gr.update(interactive=bool(view.turns or view.nbytes))
        return wording.rows_of(view), norms, spectrum, forget, gr.update(visible=False), wording.summary(user, view)

    @staticmethod
    def hidden_memory() -> Shown:
        """A Memory tab without anybody's memory: `show_memory` but for the summary."""
        return [], None, None, gr.update(interactive=False), gr.update(visible=False)

    def forget(self, user: User | None) -> Shown:
        """Forget everything: (conversation, conversations, chat, box, status)."""
        owner = named(user)
        gone = self._service.forget_everything(owner.id)
        turns = wording.counted(gone.turns, "turn")
        note = f"Forgotten: {turns} in {wording.counted(gone.conversations, 'conversation')}"
        return *self.start_anew(owner)[:-1], wording.status(note, Reading(0, 0, 0))

    def await_model(self, user: User | None, conversation_id: int | None) -> Shown:
        """While the model loads, and once it is there: (timer, status)."""
        timer = gr.Timer(active=False) if self._service.is_ready else SAME
        return timer, self._status(user, conversation_id)

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
