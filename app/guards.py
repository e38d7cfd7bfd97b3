"""What stands around every handler: whose turn it is on the page, what is left behind, and errors made sentences.

Knows pages by their tabs and errors by their sentences; no service and no components.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import gradio as gr

from app import wording
from app.errors import log_error, sentence_of
from app.tab import Tab
from app.visitor import Visitor

SAME = gr.skip()


def in_turn(
    handler: Callable[..., Any], on_error: Sequence[Any], outlasting: bool = False, resting: bool = False
) -> Callable[..., Iterator[Any]]:
    """A guarded handler whose page sees what it shows until its next action: the handler takes (tab, number, ...).

    What is `outlasting` is shown also after that, but never to another person; what is `resting`, before any message.
    """
    outermost = guarded(handler, on_error)

    @functools.wraps(handler)
    def shown(tab: Tab, number: int, *values: Any) -> Iterator[Any]:
        yield from tab.show(number, outermost(tab, number, *values), outlasting, resting)
        # When a stream ends its last output is sent once more, and may arrive after the first of the next action.
        yield SAME

    return shown


def leaving(
    handler: Callable[..., Any], emptied: Sequence[Any] = (), departing: bool = False
) -> Callable[..., tuple[Any, ...]]:
    """A handler that shows something else: what was being written before the click is stopped and shown no more.

    What is `emptied` comes before what it shows. It is `departing` where another person may be in front of the page
    afterwards.
    """

    def left(tab: Tab, number: int, *values: Any) -> tuple[Any, ...]:
        tab.leave(number, departing)
        return *emptied, *handler(*values)

    left.__name__ = handler.__name__
    return left


def guarded(handler: Callable[..., Any], on_error: Sequence[Any]) -> Callable[..., Generator[Any]]:
    """The outermost handler: what goes wrong becomes one sentence in the last output, the others get `on_error`.

    A visitor becomes the person, if they are still signed in.
    """

    @functools.wraps(handler)
    def outermost(*values: Any) -> Generator[Any]:
        try:
            shown = handler(*(value.owner() if isinstance(value, Visitor) else value for value in values))
            if isinstance(shown, Iterator):
                yield from shown
            else:
                yield shown
        except Exception as error:
            log_error(error)
            yield *on_error, wording.alert(sentence_of(error))

    return outermost
