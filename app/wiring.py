"""How events of the page call handlers: numbered as they are clicked, guarded, and answered to the page alone.

Knows the tab and the box of a page, and no other component. Events are private: nothing but the page calls them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr

from app import wording
from app.guards import SAME, guarded, in_turn, leaving

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
"""What every event has: not callable from outside, no spinner, and no queue but the service's own."""


NEXT_ACTION = "(tab, _, ...rest) => [tab, window.actions = (window.actions ?? 0) + 1, ...rest]"
LAST_ACTION = "(tab, _, ...rest) => [tab, window.actions ?? 0, ...rest]"
"""The page counts its messages and what leaves them as they are clicked; stopping names the count and adds nothing."""

LEDGER_IN_FRONT = """(tab, _, user) => {
  return [tab, window.actions ?? 0, user, Boolean(document.querySelector('#ledger')?.offsetParent)];
}"""
"""The same, and whether the Memory tab is the one that is seen."""

NUMBERED: dict[str, Any] = {**QUIET, "js": NEXT_ACTION, "trigger_mode": "multiple"}
"""A page by itself drops a click while its last one is not over, left or not; the tab knows which, so it decides."""

HOLD_BOX = "() => ({__type__: 'update', interactive: false})"
"""Until the page has left, nothing more is sent from it: it would go where the page was."""


Emptied = Sequence[tuple[Any, Any]]
"""Components, and what each of them shows when there is nothing to show."""


class Actor(Protocol):
    """What acts on a page: its tab, the number of the action, and the box that messages are written in."""

    tab: gr.State
    number: gr.Number
    box: gr.Textbox

    @property
    def conversing(self) -> list[Any]:
        """Outputs of everything that changes the chat."""


def on_message(page: Actor, event: Callable[..., Any], handler: Callable[..., Any], inputs: Sequence[Any]) -> None:
    """Send a message on an event."""
    sent = in_turn(handler, [*[SAME] * 3, gr.update(submit_btn=True, stop_btn=False)])
    event(sent, [page.tab, page.number, *inputs], page.conversing, **NUMBERED)


def on_leaving(
    page: Actor,
    event: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    emptied: Emptied = (),
    departing: bool = False,
) -> Any:
    """Leave what the page shows on an event; `outputs` end with the chat's box and the status.

    What is `emptied` is so in the same moment: sooner, what is still on its way would fill it again, and later, what
    was written since would be lost. It is `departing` where another person may be in front of the page afterwards.
    """
    event(None, None, page.box, js=HOLD_BOX, **QUIET)
    outputs = [*(component for component, _ in emptied), *outputs]
    handler = leaving(handler, [value for _, value in emptied], departing)
    left = in_turn(handler, [*[SAME] * (len(outputs) - 2), gr.update(interactive=True)])
    return event(left, [page.tab, page.number, *inputs], outputs, **NUMBERED)


def on_looking(
    page: Actor,
    event: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    outlasting: bool = False,
    js: str = LAST_ACTION,
) -> Any:
    """Show an answer on an event, unless the page has gone on meanwhile: it may be somebody else's by then.

    What is `outlasting` is shown as long as the person is the same: what came of a change, say.
    """
    looked = in_turn(handler, [SAME] * (len(outputs) - 1), outlasting)
    return event(looked, [page.tab, page.number, *inputs], outputs, js=js, **QUIET)


def at_once(event: Callable[..., Any], output: Any, doing: str) -> None:
    """Show from the click on what is being done; what is done waits for no page to have shown it."""
    event(None, None, output, js=f"() => {json.dumps(wording.status(doing))}", **QUIET)


def on(event: Callable[..., Any], handler: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Call a handler on an event; the last output shows the sentence when something goes wrong."""
    return event(guarded(handler, [SAME] * (len(outputs) - 1)), inputs, outputs, **QUIET)
