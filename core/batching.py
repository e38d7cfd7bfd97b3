"""Continuous batching: one step of the base serves every reply that is under way (Orca: Yu et al., OSDI 2022).

Nothing runs by itself: whoever waits for a token has the next one of every reply computed, and the others find theirs
written. Nothing is kept of a reply that has ended or that nobody wants any more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

from core.base import Base
from core.decoding import Decoding, Row, rows_come_and_go

AT_ONCE = 32
"""Rows of one step; a row more waits for one to end. Each needs a key-value cache, and a copy of its adapter."""


class Batching:
    """The replies of one base that are under way. Safe to use from any thread."""

    def __init__(self, base: Base, last: int | None) -> None:
        self._base, self._last = base, last
        self._together = rows_come_and_go(base)
        self._computing = threading.Lock()
        # One for all steps: torch keeps a team of threads, and scratch memory, for each thread that computes.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="step")
        self._arrived = deque[_Reply]()
        self._batches = list[_Batch]()

    def tokens(self, row: Row, most: int) -> Generator[int]:
        """Yield up to `most` tokens of a row, up to the token `last`, which is not yielded.

        What the base raises in a step, each of its rows raises.
        """
        reply = _Reply(row, most)
        self._arrived.append(reply)
        try:
            while (token := self._next(reply)) not in (None, self._last):
                yield token
        finally:
            reply.wanted = False
            if self._computing.acquire(blocking=False):  # else whoever computes lets go of it
                self._batches = self._under_way()
                self._computing.release()

    def _next(self, reply: _Reply) -> int | None:
        while not reply.tokens and reply.left:
            with self._computing:
                if not reply.tokens and reply.left:  # nobody has computed it while this thread waited
                    self._thread.submit(self._step).result()
        if reply.error:
            raise reply.error
        return reply.tokens.popleft() if reply.tokens else None

    def _step(self) -> None:
        """Compute a token of every row. Where that fails nobody knows what is left of their caches: all rows fail."""
        arrived = self._let_in()
        try:
            for batch in self._batches:
                batch.step(self._last)
            for replies in [arrived] if self._together and arrived else [[reply] for reply in arrived]:
                self._begin(_Batch(self._base, replies))
            self._batches = self._under_way()
            for batch in self._batches:
                batch.shrink()
        except BaseException as error:
            for reply in [*arrived, *(reply for batch in self._batches for reply in batch.replies)]:
                reply.error, reply.left = error, 0
            self._batches = []

    def _let_in(self) -> list[_Reply]:
        """Those that have arrived and are still wanted, as far as there is room."""
        room = AT_ONCE - sum(len(batch.replies) for batch in self._batches)
        new = [self._arrived.popleft() for _ in range(min(room, len(self._arrived)))]
        return [reply for reply in new if reply.wanted]

    def _under_way(self) -> list[_Batch]:
        """The batches in which a row goes on: of others nothing is kept."""
        return [batch for batch in self._batches if batch.replies]

    def _begin(self, batch: _Batch) -> None:
        """Read prompts, which gives each its first token, and have them go on with the others."""
        batch.step(self._last)
        if self._together and self._batches:
            self._batches[0].join(batch)
        else:
            self._batches.append(batch)


class _Reply:
    """A row, the tokens that nobody has taken yet, and how many more there may be.

    `wanted` is for whoever takes to change, the rest for whoever computes.
    """

    def __init__(self, row: Row, most: int) -> None:
        self.row, self.left, self.wanted = row, most, True
        self.tokens = deque[int]()
        self.error: BaseException | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it is to be given more."""
        return self.wanted and self.left > 0

    def give(self, token: int, last: int | None) -> None:
        self.tokens.append(token)  # before it can be seen that it was the last
        self.left = 0 if token == last else self.left - 1


class _Batch:
    """Replies that are decoded together. The place of one that has ended is kept free for the next to come."""

    def __init__(self, base: Base, replies: Sequence[_Reply]) -> None:
        self._replies = list(replies)
        self._decoding = Decoding(base, [reply.row for reply in replies])

    @property
    def replies(self) -> list[_Reply]:
        """Those that go on."""
        return [reply for reply in self._replies if reply.goes_on]

    def step(self, last: int | None) -> None:
        for reply, token in zip(self._replies, self._decoding.step(), strict=True):
            if reply.goes_on:
                reply.give(token, last)

    def join(self, other: _Batch) -> None:
        free = [i for i, reply in enumerate(self._replies) if not reply.goes_on]
        for place, reply in zip(self._decoding.join(other._decoding, free), other._replies, strict=True):
            self._replies[place : place + 1] = [reply]

    def shrink(self) -> None:
        """Let go of what only those had that have ended: of their places, once half of them are free."""
        going = [i for i, reply in enumerate(self._replies) if reply.goes_on]
        if going and len(going) < len(self._replies):
            self._decoding.skip(going)
        if going and 2 * len(going) <= len(self._replies):
            self._decoding.keep(going)
            self._replies = [self._replies[i] for i in going]
