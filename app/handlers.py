"""All that happens behind the page: the chat's handlers, and those of the Memory tab.

Values of the page in, values for the page out; the rules are the service's, the words are `wording`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from app import wording
from app.chat_handlers import ChatHandlers, Here, Shown, named
from app.plots import plot_norms, plot_spectrum
from app.tab import Tab
from storage.records import Receipt, User


class Handlers(ChatHandlers):
    """The page's handlers over one service."""

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
