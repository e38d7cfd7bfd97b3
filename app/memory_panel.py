"""The Memory tab: what stands where in it, and which handler each of its events calls. No rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import gradio as gr

from app import wording
from app.clearing import Clearable, closing, manner
from app.handlers import Handlers
from app.wiring import LEDGER_IN_FRONT, QUIET, Actor, at_once, on_leaving, on_looking

CHAT = "chat"
LEDGER = ["turn", "folded", "message", "tokens", "fold ms", "left"]

DOWNLOAD = """(text) => {
  if (text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([bytes]));
    link.download = 'memory.imprint';
    link.click();
    URL.revokeObjectURL(link.href);
  }
  return '';
}"""
"""The file is made in the browser, and its bytes are let go of: on a server they would outlive what is forgotten."""


class Remembering(Actor, Clearable, Protocol):
    """The page around the tab."""

    user: gr.State
    conversation: gr.State
    conversations: gr.Radio
    chat: gr.Chatbot
    status: gr.HTML
    tabs: gr.Tabs


class MemoryPanel:
    """The components of the tab; made inside a `gr.Tab`."""

    def __init__(self) -> None:
        self.in_front = gr.Checkbox(visible=False)
        self.summary = gr.HTML(wording.summary(None, None))
        self.ask = gr.Button("What do you know about me?", size="sm", elem_id="ask")
        self.probe = gr.Textbox(
            show_label=False,
            container=False,
            placeholder="Or ask the weights a question of your own",
            max_lines=1,
            submit_btn="Ask",
            elem_id="probe",
        )
        self.known = gr.HTML("", elem_id="known")
        self.disputes = gr.Radio(
            [], label="These turns seem to disagree: which one holds?", visible=False, elem_id="disputes"
        )
        with gr.Row():
            self.norms = gr.Plot(show_label=False, container=False, min_width=300)
            self.spectrum = gr.Plot(show_label=False, container=False, min_width=300)
        self.search = gr.Textbox(
            show_label=False,
            container=False,
            placeholder="Search what was said, or [pinned]",
            max_lines=1,
            elem_id="search-ledger",
        )
        self.table = gr.Dataframe(
            headers=LEDGER,
            datatype="str",
            type="array",
            interactive=False,
            wrap=True,
            max_height=420,
            label="Turns held: pick one to see, correct, pin or forget it",
            buttons=[],
            column_widths=["8%", "17%", "48%", "9%", "10%", "8%"],
            elem_id="ledger",
        )
        self.picked = gr.State(None)
        with gr.Column(visible=False, elem_id="picked") as self.one:
            self._lay_out_one()
        self.receipt = gr.HTML("", elem_id="receipt")
        with gr.Row(elem_id="whole"):
            self.check = gr.Button("Check against the ledger", size="sm", scale=0, elem_id="check")
            self.export = gr.Button("Download memory", size="sm", scale=0, elem_id="export")
            self.merge = gr.UploadButton("Add a memory file", size="sm", scale=0, type="filepath", elem_id="merge")
            self.forget = gr.Button(
                "Forget everything", variant="stop", size="sm", scale=0, interactive=False, elem_id="forget"
            )
        self.exported = gr.Textbox(visible="hidden", elem_id="exported")
        with gr.Group(visible=False, elem_id="confirm") as self.confirmation:
            gr.HTML("<p>All turns, conversations and the memory under this name are deleted for good.</p>")
            with gr.Row():
                self.keep = gr.Button("Keep them", size="sm")
                self.really = gr.Button("Yes, forget everything", variant="stop", size="sm", elem_id="really")
                self.delete = gr.Button("Yes, and delete the name", variant="stop", size="sm", elem_id="delete")

    def _lay_out_one(self) -> None:
        """One turn of the ledger, and what can be done about it."""
        self.said = gr.HTML("")
        self.correction = gr.Textbox(
            label="Correct what you said: it is then remembered as if you had said this at once",
            max_lines=3,
            submit_btn="Correct",
            elem_id="correction",
        )
        with gr.Row():
            self.pin = gr.Button("Pin", size="sm", scale=0, elem_id="pin")
            self.since = gr.Button("What changed since?", size="sm", scale=0, elem_id="since")
            self.back_then = gr.Button("Chat with the memory as of then", size="sm", scale=0, elem_id="back-then")
            self.forget_turn = gr.Button("Forget this turn", variant="stop", size="sm", scale=0, elem_id="forget-turn")
            self.forget_talk = gr.Button(
                "Forget its conversation", variant="stop", size="sm", scale=0, elem_id="forget-talk"
            )
        self.changes = gr.HTML("", elem_id="changes")

    @property
    def remembering(self) -> list[Any]:
        """Outputs of everything that changes the tab."""
        hiding = [self.confirmation, self.one, self.receipt]
        return [self.table, self.norms, self.spectrum, self.forget, *hiding, self.summary]

    @property
    def changing(self) -> list[Any]:
        """Outputs of what changes what is held: those of `remembering`, and what was found out before."""
        hiding = [self.confirmation, self.one]
        found = [self.disputes, self.known]
        return [*found, self.table, self.norms, self.spectrum, self.forget, *hiding, self.summary, self.receipt]

    @property
    def showing(self) -> list[Any]:
        """Outputs of what shows one turn."""
        return [self.picked, self.one, self.correction, self.pin, self.changes, self.said]


def wire_panel(page: Remembering, panel: MemoryPanel, opened: Callable[..., Any], handlers: Handlers) -> None:
    """Have the tab be filled once it is `opened`, and its events call their handlers."""
    user, picked = page.user, [page.user, panel.picked]
    on_looking(page, opened, handlers.look, [user], panel.remembering, outlasting=True)
    on_looking(page, panel.table.select, handlers.pick, [user], panel.showing)

    def search(event: Callable[..., Any]) -> None:
        """Show what is searched for: the box keeps its words when the ledger is shown anew."""
        found = [panel.table, panel.receipt]
        on_looking(page, event, handlers.search_ledger, [user, panel.search], found, outlasting=True)

    search(panel.search.change)
    on_looking(page, panel.ask.click, handlers.read_out, [user], [panel.disputes, panel.known])
    on_looking(page, panel.probe.submit, handlers.probe, [user, panel.probe], [panel.disputes, panel.known])
    at_once(panel.check.click, panel.receipt, "Checking")
    on_looking(page, panel.check.click, handlers.verify, [user], [panel.receipt])
    on_looking(page, panel.since.click, handlers.changes_since, picked, [panel.changes])
    for event, handler, inputs, doing in (
        (panel.pin.click, handlers.pin, picked, "Folding anew"),
        (panel.correction.submit, handlers.correct, [*picked, panel.correction], "Correcting, and folding anew"),
        (panel.merge.upload, handlers.take_in, [user, panel.merge], "Adding the file"),
    ):
        at_once(event, panel.receipt, doing)
        changed = on_looking(page, event, handler, inputs, panel.changing, outlasting=True)
        search(changed.then)
        refreshed = [page.conversations, page.chat, page.status]
        on_looking(page, changed.then, handlers.refresh, [user, page.conversation, page.search], refreshed)
    # Its cause and its text may say what is being corrected.
    panel.correction.submit(None, None, [page.causes, panel.said, panel.changes], js="() => ['', '', '']", **QUIET)
    at_once(panel.export.click, panel.receipt, "Preparing the file")
    exporting = [panel.exported, panel.receipt]
    exported = on_looking(page, panel.export.click, handlers.export, [user], exporting, outlasting=True)
    exported.then(None, panel.exported, panel.exported, js=DOWNLOAD, **QUIET)
    left = [(page.causes, ""), (page.search, ""), *manner(page, handlers.usual)]
    begun = on_leaving(page, panel.back_then.click, handlers.start_as_of, picked, page.conversing, left)
    begun.then(lambda: gr.Tabs(selected=CHAT), None, page.tabs, **QUIET)
    panel.forget.click(lambda: gr.update(visible=True), None, panel.confirmation, **QUIET)
    panel.keep.click(lambda: gr.update(visible=False), None, panel.confirmation, **QUIET)
    forgetting: list[tuple[Callable[..., Any], Callable[..., Any], list[Any]]] = [
        (panel.disputes.input, handlers.settle, [user, panel.disputes]),
        (panel.forget_turn.click, handlers.forget_turn, picked),
        (panel.forget_talk.click, handlers.forget_conversation, picked),
        (panel.really.click, handlers.forget, [user]),
    ]
    for event, forget, about in forgetting:
        forgotten = on_leaving(page, event, forget, about, page.conversing, closing(page, handlers.usual))
        search(look_again(page, panel, forgotten.then, handlers).then)


def look_again(page: Remembering, panel: MemoryPanel, event: Callable[..., Any], handlers: Handlers) -> Any:
    """Have the tab show what there is after an event, or nothing while it is not in front: opening it fills it."""
    inputs, outputs = [page.user, panel.in_front], panel.remembering
    return on_looking(page, event, handlers.look_again, inputs, outputs, outlasting=True, js=LEDGER_IN_FRONT)
