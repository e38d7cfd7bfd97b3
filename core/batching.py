"""Continuous batching: one step of the base serves every reply that is under way (Orca: Yu et al., OSDI 2022).

Nothing runs by itself: whoever waits for a token has the next one of every reply computed, and the others find theirs
written. Nothing is kept of a reply that has ended or that nobody wants any more.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from core.base import Base
from core.decoding import NOBODY, Decoding, Row, rows_come_and_go
from core.weighing import Weighing

if TYPE_CHECKING:
    from core.compiled import CompiledDecoding

SHORT = 256
"""Tokens: prompts up to so many are of like length."""

log = logging.getLogger(__name__)


class Batching:
    """The replies of one base that are under way. Safe to use from any thread, and in a process that was forked."""

    def __init__(
        self, base: Base, ends: Collection[int], compiling: Callable[[], CompiledDecoding] | None = None
    ) -> None:
        self._base, self._ends = base, ends
        self._together = rows_come_and_go(base)
        self._start()
        # By the thread that runs the steps: no other may replay the graphs of kernels that it has recorded.
        compiled = self._thread.submit(compiling).result() if compiling else None
        self._compiled = compiled and _Batch(compiled, [ENDED] * compiled.rows)
        self._most = compiled.rows if compiled else sys.maxsize  # a row more waits for one to end

    def _start(self) -> None:
        self._process = os.getpid()
        self._computing = threading.Lock()
        # One for all steps: torch keeps a team of threads, and scratch memory, for each thread that computes.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="step")
        self._arrived = deque[_Reply]()
        self._batches = list[_Batch]()
        self._openings = list[_Openings]()

    def tokens(self, row: Row, most: int) -> Generator[int]:
        """Yield up to `most` tokens of a row, up to one of `ends`, which is not yielded.

        What the base raises in a step, each of its rows raises.
        """
        if self._process != os.getpid():
            self._start()  # threads are not forked, and what was under way is the other process's
        reply = _Reply(row, most)
        self._arrived.append(reply)
        try:
            while (token := self._next(reply)) is not None and token not in self._ends:
                yield token
        finally:
            reply.wanted = False
            self._tidy()

    def _next(self, reply: _Reply) -> int | None:
        while not reply.tokens and reply.left:
            with self._computing:
                if not reply.tokens and reply.left:  # nobody has computed it while this thread waited
                    self._thread.submit(self._step).result()
        if reply.error:
            raise reply.error
        return reply.tokens.popleft() if reply.tokens else None

    def _tidy(self) -> None:
        """Keep nothing of rows that have ended; where somebody computes, that is looked at once they have."""
        while any(not batch.replies for batch in self._under_way) and self._computing.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._computing.release()

    def _step(self) -> None:
        """Compute a token of every row. Where that fails nobody knows what is left of their caches: all rows fail."""
        arrived = self._let_in()
        try:
            for batch in self._batches:
                batch.step(self._ends)
            for openings in list(self._openings):
                openings.step()
                if openings.are_done:
                    self._place(openings.batch(self._ends))
                    self._openings.remove(openings)
            for replies in self._groups(arrived):
                self._begin(replies)
            for batch in self._batches:
                batch.shrink()
            self._end()
        except Exception as error:
            _fail([*arrived, *(reply for batch in self._under_way for reply in batch.replies)], error)
            self._batches, self._openings = [], []
            if self._compiled:
                with suppress(Exception):
                    self._compiled.shrink()

    def _let_in(self) -> list[_Reply]:
        """Those that have arrived and are still wanted, as far as there is room.

        Openings begin together: whoever comes while others' are written waits until these are weighed.
        """
        room, new, waiting = self._most, list[_Reply](), list[_Reply]()
        room -= sum(len(batch.replies) for batch in self._under_way)
        while self._arrived and len(new) + len(waiting) < room:
            reply = self._arrived.popleft()
            if reply.wanted:
                (waiting if reply.row.is_guided and self._openings else new).append(reply)
        self._arrived.extendleft(reversed(waiting))
        return new

    def _end(self) -> None:
        """Keep nothing of batches in which no row goes on."""
        for batch in [batch for batch in self._batches if not batch.replies]:
            batch.shrink()
            self._batches.remove(batch)
        self._openings = [openings for openings in self._openings if openings.replies]

    def _groups(self, arrived: Sequence[_Reply]) -> list[list[_Reply]]:
        """Those whose prompts are read at once: of like length, because all are as long as the longest then.

        Apart from others those whose openings are weighed.
        """
        if not self._together:
            return [[reply] for reply in arrived]
        groups = defaultdict[tuple[bool, bool, int], list[_Reply]](list)
        for reply in arrived:
            doublings = max(len(reply.row.prompt), SHORT).bit_length()
            groups[reply.row.is_guided, bool(self._compiled and self._compiled.fits(reply)), doublings].append(reply)
        return list(groups.values())

    def _begin(self, replies: Sequence[_Reply]) -> None:
        """Read prompts, and have each go on with others: from its first token on, or from its opening."""
        try:
            if replies[0].row.is_guided:
                openings = _Openings(self._base, replies, self._ends)
                openings.step()
                self._openings.append(openings)
                return
            batch = _Batch(Decoding(self._base, [reply.row for reply in replies]), replies)
            batch.step(self._ends)
        except Exception as error:
            _fail(replies, error)  # nothing but these has been touched
            return
        self._place(batch)

    def _place(self, batch: _Batch) -> None:
        """Have those that have begun go on with others."""
        if not batch.replies:
            return
        if self._compiled and all(map(self._compiled.fits, batch.replies)):
            self._compiled.join(batch)
            self._batches += [self._compiled] * (self._compiled not in self._batches)
        elif others := [other for other in self._batches if self._together and other.takes(batch)]:
            others[0].join(batch)
        else:
            self._batches.append(batch)

    @property
    def _under_way(self) -> list[_Batch | _Openings]:
        return [*self._batches, *self._openings]


def _fail(replies: Sequence[_Reply], error: Exception) -> None:
    log.error("a step of %d replies failed", len(replies), exc_info=error)
    for reply in replies:
        # Without its traceback, which would keep the caches that the step was about.
        reply.error, reply.left = error.with_traceback(None), 0


class _Reply:
    """A row, the tokens that nobody has taken yet, and how many more there may be.

    `wanted` is for whoever takes to change, the rest for whoever computes.
    """

    def __init__(self, row: Row, most: int) -> None:
        self.row, self.left, self.wanted = row, most, True
        self.tokens = deque[int]()
        self.error: Exception | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it is to be given more."""
        return self.wanted and self.left > 0

    def give(self, token: int, ends: Collection[int]) -> None:
        self.tokens.append(token)  # before it can be seen that it was the last
        self.left = 0 if token in ends else self.left - 1


ENDED = _Reply(NOBODY, 0)


class _Batch:
    """Replies that are decoded together. The place of one that has ended is kept free for the next to come."""

    def __init__(self, decoding: Decoding, replies: Sequence[_Reply]) -> None:
        self._decoding, self._replies = decoding, list(replies)

    @property
    def replies(self) -> list[_Reply]:
        """Those that go on."""
        return [reply for reply in self._replies if reply.goes_on]

    def step(self, ends: Collection[int]) -> None:
        for reply, token in zip(self._replies, self._decoding.step(), strict=True):
            if reply.goes_on:
                reply.give(token, ends)

    def fits(self, reply: _Reply) -> bool:
        """Whether it can ever join."""
        return self._decoding.fits(reply.row)

    def takes(self, other: _Batch) -> bool:
        """Whether both together are not much more than both apart, when every row is as long as the longest."""
        return self._decoding.takes(other._decoding)

    def join(self, other: _Batch) -> None:
        free = [i for i, reply in enumerate(self._replies) if not reply.goes_on]
        for place, reply in zip(self._decoding.join(other._decoding, free), other._replies, strict=True):
            self._replies[place : place + 1] = [reply]

    def shrink(self) -> None:
        """Let go of what only those had that have ended: of their places, once half of them are free."""
        going = [i for i, reply in enumerate(self._replies) if reply.goes_on]
        if len(going) < len(self._replies):
            self._decoding.skip(going)
        if 2 * len(going) <= len(self._replies):
            self._replies = [self._replies[i] for i in self._decoding.keep(going)]
        self._replies = [reply if reply.goes_on else ENDED for reply in self._replies]


class _Openings:
    """Replies whose openings are weighed: they are given nothing before, and then all that was chosen."""

    def __init__(self, base: Base, replies: Sequence[_Reply], ends: Collection[int]) -> None:
        self._weighing, self._replies = Weighing(base, [reply.row for reply in replies], ends), list(replies)

    @property
    def replies(self) -> list[_Reply]:
        """Those that go on."""
        return [reply for reply in self._replies if reply.goes_on]

    @property
    def are_done(self) -> bool:
        return self._weighing.is_done

    def step(self) -> None:
        self._weighing.step()

    def batch(self, ends: Collection[int]) -> _Batch:
        """Those that go on after them; whoever has ended or left has no row there, since its place may be another's."""
        decoding, openings = self._weighing.weighed()
        for reply, opening in zip(self._replies, openings.tolist(), strict=True):
            for token in opening:
                if reply.goes_on:
                    reply.give(token, ends)
        going = [place for place, reply in enumerate(self._replies) if reply.goes_on]
        decoding.keep(going)
        return _Batch(decoding, [self._replies[place] for place in going])
