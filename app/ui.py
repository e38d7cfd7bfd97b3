"""The page: what stands where, and which handler each event calls.

No rules and no words beyond labels. Events are private: nothing but the page itself calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app import wording
from app.guards import SAME, guarded, in_turn, leaving
from app.handlers import Handlers
from app.tab import Tab

STYLE = Path(__file__).with_name("style.css")
LEDGER = ["turn", "folded", "message", "tokens", "fold ms"]
TICK_SECONDS = 1.0
FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")

THEME = gr.themes.Base(
    primary_hue="indigo", neutral_hue="slate", radius_size="lg", font=FONTS, font_mono=("ui-monospace", "monospace")
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    input_background_fill="white",
    input_background_fill_dark="*neutral_900",
    input_border_width="1px",
    button_secondary_background_fill="white",
    button_secondary_background_fill_hover="*neutral_100",
    button_secondary_background_fill_dark="*neutral_800",
    button_secondary_border_color="*border_color_primary",
    button_border_width="1px",
    button_cancel_background_fill="white",
    button_cancel_background_fill_dark="*neutral_900",
    button_cancel_text_color="#dc2626",
    button_cancel_text_color_dark="#f87171",
    button_cancel_border_color="*border_color_primary",
)

LAUNCH: dict[str, Any] = {
    "run_history": False,
    "enable_monitoring": False,
    "show_error": False,
    "ssr_mode": False,
    "pwa": False,
    "mcp_server": False,
    "share": False,
    "max_file_size": "1mb",
    "footer_links": [],
    "theme": THEME,
    "css_paths": [STYLE],
}
"""What every way of serving the page passes on: nothing is kept in browsers, shown to strangers or sent away."""


QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
"""What every event has: not callable from outside, no spinner, and no queue but the service's own."""


NEXT_ACTION = "(tab, _, ...rest) => [tab, window.actions = (window.actions ?? 0) + 1, ...rest]"
LAST_ACTION = "(tab, _, ...rest) => [tab, window.actions ?? 0, ...rest]"
"""The page counts its messages and what leaves them as they are clicked; stopping names the count and adds nothing."""

NUMBERED: dict[str, Any] = {**QUIET, "js": NEXT_ACTION, "trigger_mode": "multiple"}
"""A page by itself drops a click while its last one is not over, left or not; the tab knows which, so it decides."""

DOWNLOAD = """(text) => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'text/markdown'}));
  link.download = 'conversation.md';
  if (text) link.click();
  URL.revokeObjectURL(link.href);
  return '';
}"""
"""The file is made in the browser, and its text is let go of: on a server it would outlive what is forgotten."""

HOLD_BOX = "() => ({__type__: 'update', interactive: false})"
"""Until the page has left, nothing more is sent from it: it would go where the page was."""


class Page:
    """The components that events read and write; made inside a `gr.Blocks`."""

    def __init__(self) -> None:
        self.user = gr.State(None)
        self.conversation = gr.State(None)
        self.tab = gr.State(Tab())
        self.number = gr.Number(visible=False, precision=0)
        self.timer = gr.Timer(TICK_SECONDS)
        with gr.Row(elem_id="page"):
            with gr.Column(scale=0, min_width=250, elem_id="side"):
                self._lay_out_side()
            with gr.Column(min_width=320, elem_id="main"), gr.Tabs():
                with gr.Tab("Chat"):
                    self._lay_out_chat()
                with gr.Tab("Memory") as self.memory_tab:
                    self._lay_out_memory()

    @property
    def conversing(self) -> list[Any]:
        """Outputs of everything that changes the chat."""
        return [self.conversation, self.conversations, self.chat, self.box, self.status]

    @property
    def remembering(self) -> list[Any]:
        """Outputs of everything that changes the Memory tab."""
        hiding = [self.confirmation, self.one, self.receipt]
        return [self.table, self.norms, self.spectrum, self.forget, *hiding, self.summary]

    def _lay_out_side(self) -> None:
        gr.HTML(wording.BRAND, elem_id="brand")
        self.name = gr.Textbox(
            label="Chat as",
            placeholder="name to chat as",
            max_lines=1,
            submit_btn="Enter",
            autofocus=True,
            elem_id="name",
        )
        self.passphrase = gr.Textbox(
            show_label=False,
            container=False,
            type="password",
            placeholder="passphrase, if the name has one",
            max_lines=1,
            elem_id="passphrase",
        )
        self.anew = gr.Button("New conversation", size="sm", elem_id="anew")
        self.temporary = gr.Button("Temporary chat", size="sm", elem_id="temporary")
        self.conversations = gr.Radio([], label="Conversations", container=False, elem_id="conversations")
        with gr.Accordion("This conversation", open=False, elem_id="this"):
            self.strength = gr.Slider(0, 1, 1, step=0.05, label="Memory strength", buttons=[], elem_id="strength")
            with gr.Row():
                self.save = gr.Button("Download", size="sm", min_width=60, elem_id="save")
                self.forget_here = gr.Button("Forget", variant="stop", size="sm", min_width=60, elem_id="forget-here")
        self.saved = gr.Textbox(visible="hidden", elem_id="saved")

    def _lay_out_chat(self) -> None:
        # No Markdown: what people and models write is shown as it was written, and can fetch or run nothing.
        self.chat = gr.Chatbot(
            show_label=False,
            container=False,
            height="100%",
            buttons=[],
            render_markdown=False,
            sanitize_html=True,
            allow_tags=False,
            allow_file_downloads=False,
            feedback_options=None,
            placeholder=wording.WHO,
            layout="bubble",
            elem_id="chat",
        )
        self.causes = gr.HTML("", elem_id="causes")
        self.box = gr.Textbox(
            show_label=False,
            container=False,
            max_lines=6,
            interactive=False,
            placeholder="Write a name under Chat as first",
            submit_btn=True,
            elem_id="box",
        )
        with gr.Row(elem_id="below"):
            self.status = gr.HTML(wording.status(wording.LOADING), elem_id="status")
            self.why = gr.Button("Why this reply?", size="sm", min_width=120, scale=0, elem_id="why")
            self.retry = gr.Button("Retry", size="sm", min_width=60, scale=0, elem_id="retry")
            self.take_back = gr.Button("Undo", size="sm", min_width=60, scale=0, elem_id="take-back")

    def _lay_out_memory(self) -> None:
        self.summary = gr.HTML(wording.summary(None, None))
        self.ask = gr.Button("What do you know about me?", size="sm", elem_id="ask")
        self.known = gr.HTML("", elem_id="known")
        with gr.Row():
            self.norms = gr.Plot(show_label=False, container=False, min_width=300)
            self.spectrum = gr.Plot(show_label=False, container=False, min_width=300)
        self.table = gr.Dataframe(
            headers=LEDGER,
            datatype="str",
            type="array",
            interactive=False,
            wrap=True,
            max_height=420,
            label="Turns held: pick one to see it whole, or to forget it",
            buttons=[],
            column_widths=["8%", "18%", "54%", "10%", "10%"],
            elem_id="ledger",
        )
        self.picked = gr.State(None)
        with gr.Column(visible=False, elem_id="picked") as self.one:
            self.said = gr.HTML("")
            with gr.Row():
                self.forget_turn = gr.Button("Forget this turn", variant="stop", size="sm", elem_id="forget-turn")
                self.forget_talk = gr.Button("Forget its conversation", variant="stop", size="sm")
        self.receipt = gr.HTML("", elem_id="receipt")
        self.check = gr.Button("Check against the ledger", size="sm", elem_id="check")
        self.forget = gr.Button("Forget everything", variant="stop", size="sm", interactive=False, elem_id="forget")
        with gr.Group(visible=False, elem_id="confirm") as self.confirmation:
            gr.HTML("<p>All turns, conversations and the memory under this name are deleted for good.</p>")
            with gr.Row():
                self.keep = gr.Button("Keep them", size="sm")
                self.really = gr.Button("Yes, forget everything", variant="stop", size="sm", elem_id="really")


def build_page(handlers: Handlers) -> gr.Blocks:
    """Lay the page out and wire it."""
    with gr.Blocks(title="Imprint", analytics_enabled=False, fill_height=True, fill_width=True) as blocks:
        page = Page()
        _wire(page, handlers)
    return blocks


def _wire(page: Page, handlers: Handlers) -> None:
    here = [page.user, page.conversation]
    _on_message(page, page.box.submit, handlers.send, [*here, page.strength, page.box])
    _on_message(page, page.chat.example_select, handlers.send_example, [*here, page.strength])
    _on_message(page, page.retry.click, handlers.retry, [*here, page.strength])
    _on_leaving(page, page.take_back.click, handlers.take_back, here, page.conversing)
    forgotten = _on_leaving(page, page.forget_here.click, handlers.forget_here, here, page.conversing)
    _on(forgotten.then, handlers.show_memory, [page.user], page.remembering)
    saved = page.save.click(handlers.save, here, page.saved, **QUIET)
    saved.then(None, page.saved, page.saved, js=DOWNLOAD, **QUIET)
    acting = [page.tab, page.number]
    page.box.stop(handlers.stop, acting, None, js=LAST_ACTION, **QUIET)
    shown, named = [page.user, page.name, page.passphrase, *page.conversing], [page.name, page.passphrase]
    entering = (page.name.submit, page.passphrase.submit)
    entered = [_on_leaving(page, event, handlers.enter, named, shown) for event in entering]
    _on_leaving(page, page.anew.click, handlers.start_anew, [page.user], page.conversing)
    _on_leaving(page, page.temporary.click, handlers.start_temporarily, [page.user], page.conversing)
    picked = [page.user, page.conversations]
    opened = _on_leaving(page, page.conversations.input, handlers.open_conversation, picked, page.conversing)
    opened.then(handlers.show_strength, here, page.strength, **QUIET)
    waited = in_turn(handlers.await_model, [SAME])
    page.timer.tick(waited, [*acting, *here], [page.timer, page.status], js=LAST_ACTION, **QUIET)

    _on_looking(page, page.why.click, handlers.explain, here, [page.causes])
    moving_on = (page.box.submit, page.chat.example_select, page.retry.click, page.take_back.click)
    leaving = (page.anew.click, page.temporary.click, page.conversations.input)
    for moved in (*moving_on, *leaving, *entering):
        moved(lambda: "", None, page.causes, **QUIET)
    forgetting = (page.really.click, page.forget_turn.click, page.forget_talk.click, page.forget_here.click)
    for other in (*entering, *forgetting, page.take_back.click):
        other(lambda: "", None, page.known, **QUIET)
    for looked in (page.memory_tab.select, *(one.then for one in entered)):
        _on(looked, handlers.show_memory, [page.user], page.remembering)
    page.forget.click(lambda: gr.update(visible=True), None, page.confirmation, **QUIET)
    page.keep.click(lambda: gr.update(visible=False), None, page.confirmation, **QUIET)
    forgotten = _on_leaving(page, page.really.click, handlers.forget, [page.user], page.conversing)
    _on(forgotten.then, handlers.show_memory, [page.user], page.remembering)
    _wire_ledger(page, handlers)


def _wire_ledger(page: Page, handlers: Handlers) -> None:
    _on_looking(page, page.table.select, handlers.pick, [page.user], [page.picked, page.one, page.said])
    _on_looking(page, page.ask.click, handlers.read_out, [page.user], [page.known])
    _on_looking(page, page.check.click, handlers.verify, [page.user], [page.receipt])
    for button, handler in ((page.forget_turn, handlers.forget_turn), (page.forget_talk, handlers.forget_conversation)):
        forgotten = _on_leaving(page, button.click, handler, [page.user, page.picked], page.conversing)
        _on(forgotten.then, handlers.show_memory, [page.user], page.remembering)


def _on_message(page: Page, event: Callable[..., Any], handler: Callable[..., Any], inputs: Sequence[Any]) -> None:
    """Send a message on an event."""
    sent = in_turn(handler, [*[SAME] * 3, gr.update(submit_btn=True, stop_btn=False)])
    event(sent, [page.tab, page.number, *inputs], page.conversing, **NUMBERED)


def _on_leaving(
    page: Page, event: Callable[..., Any], handler: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> Any:
    """Leave what the page shows on an event; `outputs` end with the chat's box and the status."""
    event(None, None, page.box, js=HOLD_BOX, **QUIET)
    left = in_turn(leaving(handler), [*[SAME] * (len(outputs) - 2), gr.update(interactive=True)])
    return event(left, [page.tab, page.number, *inputs], outputs, **NUMBERED)


def _on_looking(
    page: Page, event: Callable[..., Any], handler: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> None:
    """Show an answer on an event, unless the page has gone on meanwhile: it may be somebody else's by then."""
    looked = in_turn(handler, [SAME] * (len(outputs) - 1))
    event(looked, [page.tab, page.number, *inputs], outputs, js=LAST_ACTION, **QUIET)


def _on(event: Callable[..., Any], handler: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Call a handler on an event; the last output shows the sentence when something goes wrong."""
    return event(guarded(handler, [SAME] * (len(outputs) - 1)), inputs, outputs, **QUIET)
