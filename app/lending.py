"""ZeroGPU: Spaces that have no GPU of their own and are lent one for some seconds at a time.

The `spaces` package is there alone. It forks a process with the GPU for each loan, and stands in for CUDA until then,
on the thread that imported it. Knows no models.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

from app.errors import NothingLent

SECONDS = 20  # that a loan is asked for: what a visitor may still use has to be more than this


def is_lent_gpus() -> bool:
    """Whether this is such a Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def begin_lending() -> None:
    """To be called before weights are loaded, on the thread that loads them and then starts the page."""
    import spaces

    spaces.GPU(_nothing)


def lend(task: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function be carried out by a process that is lent a GPU; what goes wrong there is a NothingLent."""
    import spaces

    there = spaces.GPU(task, duration=SECONDS)

    @wraps(task)
    def call(*given: Any, **named: Any) -> Any:
        with _translated():
            return there(*given, **named)

    @wraps(task)
    def write(*given: Any, **named: Any) -> Iterator[Any]:
        with _translated():
            yield from there(*given, **named)

    return write if isgeneratorfunction(task) else call


@contextmanager
def _translated() -> Iterator[None]:
    import gradio as gr

    try:
        yield
    except gr.Error as error:
        raise NothingLent(f"No GPU could be borrowed, or it failed: {error.message}") from error


def _nothing() -> None:
    """Never called: it is there because a Space that nothing in it could borrow for is refused."""
