"""The page: what stands where, and which handler each event calls.

No rules and no words beyond labels. Events are private: nothing but the page itself calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app import wording
from app.handlers import SAME, Handlers, guarded

STYLE = Path(__file__).with_name("style.css")
LEDGER = ["folded", "message", "tokens", "fold ms"]
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


class Page:
    """The components that events read and write; made inside a `gr.Blocks`."""

    def __init__(self) -> None:
        self.user = gr.State(None)
        self.conversation = gr.State(None)
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
        return [self.table, self.norms, self.spectrum, self.forget, self.confirmation, self.summary]

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
        self.anew = gr.Button("New conversation", size="sm", elem_id="anew")
        self.conversations = gr.Radio([], label="Conversations", container=False, elem_id="conversations")

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
        self.box = gr.Textbox(
            show_label=False,
            container=False,
            max_lines=6,
            interactive=False,
            placeholder="Write a name under Chat as first",
            submit_btn=True,
            elem_id="box",
        )
        self.status = gr.HTML(wording.status(wording.LOADING), elem_id="status")

    def _lay_out_memory(self) -> None:
        self.summary = gr.HTML(wording.summary(None, None))
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
            label="Turns held",
            buttons=[],
            column_widths=["150px", "auto", "76px", "84px"],
            elem_id="ledger",
        )
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
    at_rest = [*[SAME] * 3, gr.update(submit_btn=True, stop_btn=False)]
    sent = _on(page.box.submit, handlers.send, [*here, page.box], page.conversing, at_rest)
    tried = _on(page.chat.example_select, handlers.send_example, here, page.conversing, at_rest)
    writing = {"cancels": [sent, tried]}
    _on(page.box.stop, handlers.stop, here, [page.status])
    entered = _on(page.name.submit, handlers.enter, [page.name], [page.user, page.name, *page.conversing], **writing)
    _on(page.anew.click, handlers.start_anew, [page.user], page.conversing, **writing)
    picked = [page.user, page.conversations]
    _on(page.conversations.input, handlers.open_conversation, picked, page.conversing, **writing)
    _on(page.timer.tick, handlers.await_model, here, [page.timer, page.status])

    for looked in (page.memory_tab.select, entered.then):
        _on(looked, handlers.show_memory, [page.user], page.remembering)
    page.forget.click(lambda: gr.update(visible=True), None, page.confirmation, **QUIET)
    page.keep.click(lambda: gr.update(visible=False), None, page.confirmation, **QUIET)
    forgotten = _on(page.really.click, handlers.forget, [page.user], page.conversing, **writing)
    _on(forgotten.then, handlers.show_memory, [page.user], page.remembering)


def _on(
    event: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    on_error: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """Call a handler on an event; the last output shows the sentence when something goes wrong."""
    rest = [SAME] * (len(outputs) - 1) if on_error is None else on_error
    return event(guarded(handler, rest), inputs, outputs, **QUIET, **options)
