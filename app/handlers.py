"""All that happens behind the page: the chat's handlers, and those of the Memory tab.

Values of the page in, values for the page out; the rules are the service's, the words are `wording`'s.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from app import wording
from app.answers import changes_shown, choices_between, numbers_in, readout_shown
from app.chat_handlers import Here, Shown, named, resting_box
from app.errors import BadMessage
from app.guards import SAME
from app.plots import plot_norms, plot_spectrum
from app.program import Program
from app.receipts import receipt_shown, verdict
from app.reply import TemporaryChat
from app.tab import Tab
from storage.records import Receipt, User


class Handlers(Program):
    """The page's handlers over one service."""

    def show_memory(self, user: User | None) -> Shown:
        """Fill the Memory tab: (table, norms, spectrum, forget button, confirmation, one turn, receipt, summary)."""
        if user is None:
            return *self.hidden_memory(), wording.summary(None, None)
        view = self._service.view_memory(user.id)
        norms = plot_norms(view.norms) if view.norms else None
        spectrum = plot_spectrum(view.spectrum) if view.spectrum else None
        forget = gr.update(interactive=bool(view.turns or view.nbytes))
        newest = "".join(map(receipt_shown, self._service.list_receipts(user.id)[:1]))
        hiding = [gr.update(visible=False)] * 2
        return (
            wording.rows_of(view.turns, view.left),
            norms,
            spectrum,
            forget,
            *hiding,
            newest,
            wording.summary(user, view),
        )

    def look(self, tab: Tab, number: int, user: User | None) -> Shown:
        """Fill the Memory tab as it is opened: as `show_memory`."""
        return self.show_memory(user)

    def look_again(self, tab: Tab, number: int, user: User | None, in_front: bool) -> Shown:
        """Fill the Memory tab anew where it is in front, else empty it until it is opened: as `show_memory`."""
        return self.show_memory(user) if in_front or user is None else (*self.hidden_memory(), "")

    @staticmethod
    def hidden_memory() -> Shown:
        """A Memory tab without anybody's memory: `show_memory` but for the summary."""
        return [], None, None, gr.update(interactive=False), *[gr.update(visible=False)] * 2, ""

    def forget(self, user: User | None) -> Shown:
        """Forget everything: (conversation, conversations, chat, box, status)."""
        owner = named(user)
        return self._after(owner, self._service.forget_everything(owner.id))

    def forget_here(self, user: User | None, here: Here) -> Shown:
        """Forget the conversation that is shown: as `forget`. Nothing is kept of a temporary one anyway."""
        owner = named(user)
        if not isinstance(here, int):
            return self.start_anew(owner)
        return self._after(owner, self._service.forget_conversation(owner.id, here))

    def forget_turn(self, user: User | None, turn_id: int | None) -> Shown:
        """Forget one turn of the ledger: as `forget`."""
        owner = named(user)
        return self._after(owner, self._service.forget_turns(owner.id, [] if turn_id is None else [turn_id]))

    def settle(self, user: User | None, choice: str) -> Shown:
        """Forget the turns of one side, where two disagree: as `forget`."""
        owner = named(user)
        return self._after(owner, self._service.forget_turns(owner.id, numbers_in(choice)))

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

    def search_ledger(self, tab: Tab, number: int, user: User | None, text: str) -> Shown:
        """The turns in which a text is: (table, what went wrong)."""
        return wording.rows_of(*self._service.ledger(user.id), text) if user else [], SAME

    def pick(self, tab: Tab, number: int, user: User | None, picked: gr.SelectData) -> Shown:
        """Show one turn of the ledger whole: (turn, its panel, correction, pin button, changes, its text)."""
        owner, turn_id = named(user).id, int(picked.row_value[0])
        turn, norms = self._service.load_turn(owner, turn_id), self._service.weigh(owner, turn_id)
        pin = gr.update(value="Unpin" if turn.pinned else "Pin")
        return turn.id, gr.update(visible=True), turn.user_text, pin, "", wording.turn_shown(turn, norms)

    def pin(self, tab: Tab, number: int, user: User | None, turn_id: int) -> Shown:
        """Have a turn fade no more, or fade again: as `_changed`."""
        owner = named(user)
        pinned = not self._service.load_turn(owner.id, turn_id).pinned
        self._service.pin(owner.id, turn_id, pinned)
        return self._changed(owner, f"Turn {turn_id} " + ("does not fade any more" if pinned else "fades again"))

    def correct(self, tab: Tab, number: int, user: User | None, turn_id: int, text: str) -> Shown:
        """Have a turn say something else: as `_changed`."""
        owner = named(user)
        self._service.correct(owner.id, turn_id, text)
        return self._changed(
            owner, f"Turn {turn_id} is remembered as corrected; later turns that repeat its old words stay"
        )

    def take_in(self, tab: Tab, number: int, user: User | None, path: str) -> Shown:
        """Make one memory of a file's and this one: as `_changed`. The file that was sent is not kept."""
        file = Path(path)
        try:
            owner = named(user)
            turns = self._service.import_memory(owner.id, file.read_bytes(), merge=True)
        finally:
            file.unlink(missing_ok=True)
        return self._changed(owner, f"Took in {wording.counted(turns, 'turn')} that were not here")

    def export(self, tab: Tab, number: int, user: User | None) -> Shown:
        """The memory as a file, for the browser to write: (its bytes as base64, what happened)."""
        data = self._service.export_memory(named(user).id)
        note = f"Downloaded {wording.sized(len(data))}. It holds what you said: keep it as you would the chat."
        return b64encode(data).decode(), wording.status(note)

    def start_as_of(self, user: User | None, turn_id: int | None) -> Shown:
        """A temporary chat that reads the memory as it was after a turn: as `start_anew`."""
        owner, empty = named(user), gr.update(value=[], placeholder=wording.AS_OF, examples=[])
        status = self._status(owner, None)
        return TemporaryChat(as_of=turn_id), self._list(owner, None), empty, resting_box(owner), status

    def changes_since(self, tab: Tab, number: int, user: User | None, turn_id: int) -> Iterator[str]:
        """What the memory answers otherwise now than after a turn."""
        owner = named(user)
        yield wording.status("Asking the memory, as it was and as it is")
        yield changes_shown(self._service.changes_since(owner.id, turn_id))

    def rename(self, tab: Tab, number: int, user: User | None, here: Here, title: str, search: str = "") -> Shown:
        """Call the conversation that is shown so: (conversations, status)."""
        owner = named(user)
        if not isinstance(here, int):
            raise BadMessage("There is no conversation to name yet; write something in it first.")
        self._service.rename_conversation(owner.id, here, title)
        return self._list(owner, here, search), SAME

    def search(self, tab: Tab, number: int, user: User | None, here: Here, text: str) -> Shown:
        """The conversations in which a text is: (conversations, status)."""
        shown = here if isinstance(here, int) else None
        return self._list(user, shown, text), SAME

    def refresh(self, tab: Tab, number: int, user: User | None, here: Here, search: str = "") -> Shown:
        """The conversation that is shown, as it is now: (conversations, chat, status)."""
        if user is None or not isinstance(here, int):
            return self._list(user, None, search), SAME, SAME
        return self._list(user, here, search), self._chat(user, here), self._status(user, here)

    def _changed(self, owner: User, note: str) -> Shown:
        """The tab after a change of what is held, and what happened."""
        *shown, _, summary = self.show_memory(owner)
        return gr.update(visible=False), "", *shown, summary, wording.status(note)

    def verify(self, tab: Tab, number: int, user: User | None) -> str:
        """Whether the memory is what its ledger gives."""
        return wording.status(verdict(self._service.verify(named(user).id)))

    def read_out(self, tab: Tab, number: int, user: User | None) -> Iterator[Shown]:
        """What the memory alone answers to a list of questions: (turns that seem to disagree, answers)."""
        owner = named(user)
        yield SAME, wording.status("Asking the memory")
        answers = self._service.read_out(owner.id)
        choices = choices_between(answers)
        yield gr.update(choices=choices, value=None, visible=bool(choices)), readout_shown(answers)

    def probe(self, tab: Tab, number: int, user: User | None, question: str) -> Iterator[Shown]:
        """What the memory alone answers to a question of one's own: as `read_out`."""
        owner = named(user)
        yield SAME, wording.status("Asking the memory")
        yield SAME, readout_shown(self._service.read_out(owner.id, [question]), own=True)
