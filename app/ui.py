"""The page: what stands where, and which handler each event calls.

No rules and no words beyond labels. Events are private, but for one that takes a key: only the page itself calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from app import settings, wording
from app.asking import HOTTEST
from app.chat_handlers import Shown
from app.clearing import closing, departing, found_out, manner
from app.guards import SAME, in_turn
from app.handlers import Handlers
from app.memory_panel import CHAT, MemoryPanel, look_again, wire_panel
from app.people_panel import PeoplePanel, wire_people
from app.same_site import SameSite
from app.steady import SteadyBlocks
from app.tab import Tab
from app.theme import THEME
from app.wiring import LAST_ACTION, QUIET, at_once, on, on_leaving, on_looking, on_message

STYLE = Path(__file__).with_name("style.css")
SCRIPTS = [Path(__file__).with_name(name) for name in ("stream.js", "keys.js")]
TICK_SECONDS = 1.0

LAUNCH: dict[str, Any] = {
    "run_history": False,
    "enable_monitoring": False,
    "show_error": False,
    "ssr_mode": False,
    "pwa": False,
    "mcp_server": False,
    "share": False,
    "max_file_size": "16mb",
    "max_threads": 256,  # made when they are needed: those who wait for their own reply must not be all of them
    "footer_links": [],
    "theme": THEME,
    "css_paths": [STYLE],
    "head": "".join(f"<script>{script.read_text(encoding='utf-8')}</script>" for script in SCRIPTS),
}
"""Nothing that was said is kept in browsers, shown or sent away."""


def start_page(page: gr.Blocks, host: str, port: int | None = None) -> None:
    """Serve a page on threads of its own, on any free port where none is given."""
    guarded = {"middleware": [Middleware(SameSite)]}  # Gradio writes into it, so each start has its own
    where = {"server_name": host, "server_port": port}
    page.launch(**where, prevent_thread_lock=True, quiet=True, app_kwargs=guarded, **LAUNCH)


DOWNLOAD = """(text) => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text]));
  link.download = text.startsWith('{') ? 'conversation.json' : 'conversation.md';
  if (text) link.click();
  URL.revokeObjectURL(link.href);
  return '';
}"""
"""The file is made in the browser, and its text is let go of: on a server it would outlive what is forgotten."""


MOVE_ON = "() => ['', {__type__: 'update', active: false}]"
"""Where the last reply came from is no matter any more, and a message says by itself whether the model is there."""

KEEP_SESSION = "(session) => { try { if (session) localStorage.setItem('imprint', session); } catch {} }"
KEEP_GUEST = "(session) => { try { localStorage.setItem('imprint-guest', session); } catch {} }"
SAVED_GUEST = "() => { try { return localStorage.getItem('imprint-guest') ?? ''; } catch { return ''; } }"
"""Signing out loses no guest: the browser is all that lets them in again."""
DROP_SESSION = """(session) => {
  try { if (localStorage.getItem('imprint') === session) localStorage.removeItem('imprint'); } catch {}
}"""
LEAVE_HUB = """(session) => {
  if (!session) window.location.assign('/logout?_target_url=/' + window.location.search);
}"""
"""Gradio's cookie says who somebody is on Hugging Face, and would let them in again at the next reload."""
SAVED_SESSION = """(tab) => {
  try { return [tab, 0, localStorage.getItem('imprint') ?? '']; } catch { return [tab, 0, '']; }
}"""
"""The browser keeps who it was, so that a reload asks nobody's name; where it may keep nothing, it asks."""


class Page:
    """The components that events read and write; made inside a `gr.Blocks`."""

    def __init__(self, usual: Shown) -> None:
        self.user = gr.State(None)
        self.conversation = gr.State(None)
        self.tab = gr.State(Tab())
        self.number = gr.Number(visible=False, precision=0)
        self.timer = gr.Timer(TICK_SECONDS)
        with gr.Row(elem_id="page"):
            with gr.Column(scale=0, min_width=250, elem_id="side"):
                self._lay_out_side(usual)
            with gr.Column(min_width=320, elem_id="main"):
                with gr.Tabs() as self.tabs:
                    with gr.Tab("Chat", id=CHAT):
                        self._lay_out_chat()
                    with gr.Tab("Memory") as self.memory_tab:
                        self.memory = MemoryPanel()
                    with gr.Tab("People", visible=False) as self.people_tab:
                        self.people = PeoplePanel()
                # What goes wrong is told there, whichever tab it was done in.
                self.status = gr.HTML(wording.status(wording.LOADING), elem_id="status")

    @property
    def entering(self) -> list[Any]:
        """Outputs of everything that changes who is chatting."""
        return [self.session, self.user, self.name, self.passphrase, *self.conversing]

    @property
    def conversing(self) -> list[Any]:
        """Outputs of everything that changes the chat."""
        return [self.conversation, self.conversations, self.chat, self.box, self.status]

    @property
    def dials(self) -> list[Any]:
        """How the conversation is answered: the fields of a `Manner`, in order."""
        return [self.strength, self.instructions, self.temperature]

    def _lay_out_side(self, usual: Shown) -> None:
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
        self.guest = gr.Button("Chat as a guest", size="sm", elem_id="guest")
        if settings.knows_hub():
            gr.LoginButton(size="sm", elem_id="hub")
        self.session = gr.Textbox(visible="hidden", elem_id="session")
        self.anew = gr.Button("New conversation", size="sm", elem_id="anew")
        self.temporary = gr.Button("Temporary chat", size="sm", elem_id="temporary")
        self.search = gr.Textbox(
            show_label=False, container=False, placeholder="Search conversations", max_lines=1, elem_id="search"
        )
        self.conversations = gr.Radio([], label="Conversations", container=False, elem_id="conversations")
        with gr.Accordion("This conversation", open=False, elem_id="this"):
            self.title = gr.Textbox(label="Name", max_lines=1, submit_btn="Rename", elem_id="title")
            self._lay_out_dials(usual)
            with gr.Row():
                self.save = gr.Button("Save as .md", size="sm", min_width=90, elem_id="save")
                self.save_json = gr.Button("Save as .json", size="sm", min_width=90, elem_id="save-json")
                self.forget_here = gr.Button("Forget", variant="stop", size="sm", min_width=60, elem_id="forget-here")
        self.saved = gr.Textbox(visible="hidden", elem_id="saved")
        self.leave = gr.Button("Sign out", size="sm", elem_id="leave")

    def _lay_out_dials(self, usual: Shown) -> None:
        strength, _, warm = usual
        plain: dict[str, Any] = {"buttons": []}
        self.strength = gr.Slider(0, 1, strength, step=0.05, label="Memory strength", elem_id="strength", **plain)
        self.instructions = gr.Textbox(
            label="Instructions", value="", placeholder=wording.INSTRUCTIONS, max_lines=4, elem_id="instructions"
        )
        self.temperature = gr.Slider(0, HOTTEST, warm, step=0.1, label="Temperature", elem_id="temperature", **plain)

    def _lay_out_chat(self) -> None:
        # It gets HTML (see rendering.py), and no Markdown: the browser's would show images, which fetch.
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
            self.why = gr.Button("Why this reply?", size="sm", min_width=120, scale=0, elem_id="why")
            self.retry = gr.Button("Retry", size="sm", min_width=60, scale=0, elem_id="retry")
            self.take_back = gr.Button("Undo", size="sm", min_width=60, scale=0, elem_id="take-back")


def build_page(handlers: Handlers) -> gr.Blocks:
    """Lay the page out and wire it."""
    upload_seconds = (600, 600)  # how often to look for files that were sent and not taken, and how old those are
    shape: dict[str, Any] = {"fill_height": True, "fill_width": True}
    with SteadyBlocks(title="Imprint", analytics_enabled=False, delete_cache=upload_seconds, **shape) as blocks:
        page = Page(handlers.usual)
        _wire(page, handlers)
        resumed = in_turn(handlers.resume, [SAME] * 8)
        nudge = gr.Button(visible="hidden", elem_id="nudge")  # stream.js clicks it, also while the last one waits
        nudge.click(lambda: None, trigger_mode="multiple", **QUIET)
        back = blocks.load(resumed, [page.tab, page.number, page.session], page.entering, js=SAVED_SESSION, **QUIET)
        back.then(None, page.session, None, js=KEEP_SESSION, **QUIET)
        on(back.then, handlers.show_people_tab, [page.user], [page.people_tab, *page.people.showing])
        gr.api(handlers.chat, api_name="chat", concurrency_limit=None)
    return blocks


def _wire(page: Page, handlers: Handlers) -> None:
    here = [page.user, page.conversation]
    for event in (page.box.submit, page.chat.example_select, page.retry.click):
        event(None, None, [page.causes, page.timer], js=MOVE_ON, **QUIET)
    on_message(page, page.box.submit, handlers.send, [*here, page.box, page.search, *page.dials])
    on_message(page, page.chat.example_select, handlers.send_example, [*here, page.search, *page.dials])
    on_message(page, page.retry.click, handlers.retry, [*here, page.search, *page.dials])
    listed = [page.conversations, page.status]
    on_looking(page, page.title.submit, handlers.rename, [*here, page.title, page.search], listed, outlasting=True)
    on_looking(page, page.search.change, handlers.search, [*here, page.search], listed, outlasting=True)
    for click, save in ((page.save.click, handlers.save), (page.save_json.click, handlers.save_as_json)):
        saved = on_looking(page, click, save, here, [page.saved, page.status])
        saved.then(None, page.saved, page.saved, js=DOWNLOAD, **QUIET)
    acting = [page.tab, page.number]
    page.box.stop(handlers.stop, acting, None, js=LAST_ACTION, **QUIET)
    waited = in_turn(handlers.await_model, [SAME], resting=True)
    page.timer.tick(waited, [*acting, *here], [page.timer, page.status], js=LAST_ACTION, **QUIET)
    at_once(page.why.click, page.causes, "Looking for what this reply came from")
    on_looking(page, page.why.click, handlers.explain, here, [page.causes])
    _wire_conversations(page, handlers)
    changed = _wire_entering(page, handlers)
    wire_panel(page, page.memory, page.memory_tab.select, handlers)
    for event in changed:
        look_again(page, page.memory, event, handlers)
    wire_people(page, page.people, page.people_tab, handlers, changed)


def _wire_conversations(page: Page, handlers: Handlers) -> None:
    """From one conversation to another, and what is forgotten of one."""
    here, picked = [page.user, page.conversation, page.search], [page.user, page.conversations]
    gone = closing(page, handlers.usual)
    forgotten = on_leaving(page, page.forget_here.click, handlers.forget_here, here[:-1], page.conversing, gone)
    look_again(page, page.memory, forgotten.then, handlers)
    on_leaving(page, page.take_back.click, handlers.take_back, here, page.conversing, found_out(page))
    left = [(page.causes, ""), *manner(page, handlers.usual)]
    on_leaving(page, page.anew.click, handlers.start_anew, [page.user, page.search], page.conversing, left)
    on_leaving(page, page.temporary.click, handlers.start_temporarily, [page.user, page.search], page.conversing, left)
    opened, left = [*page.dials, *page.conversing], [(page.causes, ""), (page.title, "")]
    on_leaving(page, page.conversations.input, handlers.open_conversation, picked, opened, left)


def _wire_entering(page: Page, handlers: Handlers) -> list[Callable[..., Any]]:
    """Who enters and who leaves; return what follows when somebody has."""
    named, gone = [page.name, page.passphrase, page.session], departing(page, handlers.usual)
    outputs = (page.entering, gone, True)
    entered = [
        on_leaving(page, event, handlers.enter, named, *outputs) for event in (page.name.submit, page.passphrase.submit)
    ]
    guest = page.guest.click(None, None, page.session, js=SAVED_GUEST, **QUIET)
    entered.append(on_leaving(page, guest.then, handlers.enter_as_guest, [page.session], *outputs))
    entered[-1].then(None, page.session, None, js=KEEP_GUEST, **QUIET)
    for event in (page.leave.click, page.memory.delete.click):
        event(None, page.session, None, js=DROP_SESSION, **QUIET)
    left = on_leaving(page, page.leave.click, handlers.leave, [page.session], *outputs)
    deleted = on_leaving(page, page.memory.delete.click, handlers.delete_account, [page.user], *outputs)
    for one in entered:
        one.then(None, page.session, None, js=KEEP_SESSION, **QUIET)
    for one in (left, deleted) if settings.knows_hub() else ():
        one.then(None, page.session, None, js=LEAVE_HUB, **QUIET)
    return [one.then for one in (*entered, left, deleted)]
