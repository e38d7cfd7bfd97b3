"""An engine on a GPU that is lent for seconds: every computation goes to a process that has the GPU and comes back.

What goes there and comes back are plain values on the host, because nothing that the process keeps outlives the loan.
Knows no lender: whoever makes the engine says how a function is carried out there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.adapter import Adapter
from core.checkpoint import Checkpoint
from core.decoding import Row
from core.engine import Engine
from core.provenance import Parts

COMPUTING = (
    *("fold", "materialise", "fullness", "left", "parts", "influences", "alone", "lacking", "margins"),
    *("recollections", "logits", "reply_all"),
)
HOST = torch.device("cpu")


class LentEngine(Engine):
    """An engine that computes nothing in this process.

    `lend` has a function, or a generator function, be carried out where the GPU is; its values are pickled.
    """

    def __init__(self, checkpoint: Checkpoint, lend: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        super().__init__(checkpoint)
        there = Engine(checkpoint)
        compute, self._write = lend(_computing(there)), lend(_writing(there))
        for name in COMPUTING:
            setattr(self, name, partial(compute, name))

    def _stream(self, row: Row, stop: threading.Event) -> Iterator[str]:
        pieces = self._write(row)
        try:
            for piece in pieces:
                yield piece
                if stop.is_set():
                    break
        finally:
            pieces.close()  # at which the process leaves off


def _computing(engine: Engine) -> Callable[..., Any]:
    def compute(name: str, *given: Any, **named: Any) -> Any:
        there = partial(_moved, device=engine.base.device, dtype=engine.base.dtype)
        result = getattr(engine, name)(*map(there, given), **named)
        return _moved(result, HOST, engine.base.dtype)

    return compute


def _writing(engine: Engine) -> Callable[[Row], Iterator[str]]:
    def write(row: Row) -> Iterator[str]:
        adapter = row.adapter and row.adapter.to(engine.base.device, engine.base.dtype)
        yield from engine._stream(replace(row, adapter=adapter), threading.Event())

    return write


def _moved(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Adapters, parts and tensors, in lists too, on this device; states are on the host always."""
    if isinstance(value, Adapter):
        return value.to(device, dtype)
    if isinstance(value, Parts):
        return value.to(device)
    if type(value) in (list, tuple):  # named tuples hold none
        return type(value)(_moved(item, device, dtype) for item in value)
    return value.to(device) if isinstance(value, Tensor) else value
