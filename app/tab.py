"""What one open page is doing: its actions by the numbers the page gave them, and the messages among them not yet over.

A page numbers its actions as they are clicked, so a number says what came before it, in whatever order requests
arrive. Two rules follow. To stop or to leave touches messages up to its own number and never a later one. What an
action shows is shown only until a newer one begins. Knows neither components nor storage.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from threading import Condition
from typing import Any

from app.reply import Stream

PATIENCE_SECONDS = 5.0
"""How long an action waits for another's last output to be on its way; longer only where its page is gone."""


class Tab:
    """The actions of one page. Safe to use from any thread."""

    def __init__(self) -> None:
        self._newest = 0
        self._departed = 0
        self._open: dict[int, Stream | None] = {}
        self._sent = False
        self._showing = False
        self._changed = Condition()

    def __deepcopy__(self, memo: object) -> Tab:
        """Return a new tab: pages copy the first value of their state, and each has its own."""
        return Tab()

    def begin(self, number: int) -> bool:
        """Begin a message; False if it was left before it came, or the newest message is still being answered."""
        with self._changed:
            if number < self._newest or self._newest in self._open:
                return False
            self._newest, self._open[number], self._sent = number, None, True
            return True

    def answer(self, number: int, reply: Stream) -> None:
        """Note the reply to a message that was begun; it is stopped at once if the message was left meanwhile."""
        with self._changed:
            self._open[number] = reply
            if number < self._newest:
                reply.stop()

    def end(self, number: int) -> None:
        """Note that a message is over, so that the next may begin."""
        with self._changed:
            self._open.pop(number, None)

    def stop(self, number: int) -> None:
        """End the replies that were being written when this was clicked; their streams finish by themselves."""
        with self._changed:
            for begun, reply in self._open.items():
                if begun <= number and reply:
                    reply.stop()

    def leave(self, number: int, departing: bool = False) -> None:
        """Stop, and show nothing more of what came before; where a person is `departing`, really nothing."""
        with self._changed:
            self._newest = max(self._newest, number)
            self._departed = max(self._departed, number if departing else 0)
        self.stop(number)

    def show(
        self, number: int, stream: Generator[Any], outlasting: bool = False, resting: bool = False
    ) -> Iterator[Any]:
        """Pass on what an action shows, one output of the page at a time, until a newer action begins.

        What is `outlasting` is passed on until a person departs, and what is `resting` only until the first message
        of the page: from then on messages say how things are.
        """
        with closing(stream):
            for shown in stream:
                if not self._claim(number, outlasting, resting):
                    return
                try:
                    yield shown
                finally:
                    # Whoever takes the next output has sent this one off.
                    self._release()

    def _claim(self, number: int, outlasting: bool, resting: bool) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self._showing, timeout=PATIENCE_SECONDS)
            in_time = number >= (self._departed if outlasting else self._newest)
            self._showing = in_time and not (resting and self._sent)
            return self._showing

    def _release(self) -> None:
        with self._changed:
            self._showing = False
            self._changed.notify_all()
