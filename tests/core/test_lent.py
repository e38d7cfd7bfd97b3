"""An engine that computes elsewhere says what one that computes here does; only plain values go there and back."""

from __future__ import annotations

import inspect
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from core.adapter import Adapter
from core.chat import Message
from core.checkpoint import Checkpoint
from core.decoding import Sampling
from core.engine import Engine
from core.lent import COMPUTING, LentEngine
from core.provenance import Parts
from core.state import State
from tests.tiny import tiny_engine

TURN = [Message("user", "My name is Marta."), Message("assistant", "Hello, Marta.")]
ASKED = [Message("user", "What is my name?")]
EXCHANGE = [*ASKED, Message("assistant", "Marta.")]


def sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def elsewhere(task: Callable[..., Any]) -> Callable[..., Any]:
    """Carry a function out here, with values that went through a pipe."""
    if inspect.isgeneratorfunction(task):

        def write(*given: Any) -> Iterator[Any]:
            yield from map(sent, task(*sent(given)))

        return write
    return lambda *given, **named: sent(task(*sent(given), **sent(named)))


@pytest.fixture
def here() -> Engine:
    return tiny_engine()


@pytest.fixture
def lent(here: Engine) -> LentEngine:
    return LentEngine(Checkpoint(here.name, here.fingerprint, here.base, here.generator, here.tokenizer), elsewhere)


def test_every_computation_comes_back_as_it_is_here(here: Engine, lent: LentEngine) -> None:
    state = here.fold(here.empty_state(), TURN)
    adapter, parts = here.materialise(state), here.parts([TURN, TURN])
    given: dict[str, tuple[Any, ...]] = {
        "fold": (here.empty_state(), TURN),
        "materialise": (state,),
        "fullness": (state,),
        "left": ([False, True],),
        "parts": ([TURN, TURN],),
        "influences": (parts, [EXCHANGE]),
        "alone": (parts, [EXCHANGE]),
        "lacking": (parts, [[0]]),
        "margins": (adapter, [EXCHANGE]),
        "recollections": (adapter, [TURN]),
        "logits": (adapter, ASKED),
        "reply_all": ([(adapter, ASKED), (None, ASKED)], Sampling(max_tokens=4)),
    }
    assert set(given) == set(COMPUTING)
    for name, arguments in given.items():
        one, other = getattr(here, name)(*arguments), getattr(lent, name)(*arguments)
        torch.testing.assert_close(flat(one), flat(other), msg=name)


def flat(value: Any) -> Any:
    """Numbers and tensors in lists: what can be held against each other."""
    if isinstance(value, str):
        return list(value.encode())
    if isinstance(value, Adapter | State | Parts):
        value = [part for part in vars(value).values() if part is not None]
    return [flat(item) for item in value] if isinstance(value, list | tuple) else value


def test_nothing_that_computes_is_left_here() -> None:
    source = {name: inspect.getsource(member) for name, member in vars(Engine).items() if inspect.isfunction(member)}
    computing = {name for name, text in source.items() if "inference_mode" in text or "self.base," in text}
    within = {"_aged", "__init__", "_compiled", "_steps"}  # called by those that compute, or once, when it is made
    assert computing - within <= {*COMPUTING, "_stream"}


def test_a_reply_is_the_same_and_stops(here: Engine, lent: LentEngine) -> None:
    adapter = here.materialise(here.fold(here.empty_state(), TURN))
    sampling = Sampling(max_tokens=12)
    assert list(lent.reply(adapter, ASKED, sampling)) == list(here.reply(adapter, ASKED, sampling))
    stop = threading.Event()
    pieces = lent.reply(adapter, ASKED, sampling, stop)
    first = next(pieces)
    stop.set()
    assert first and list(pieces) == []
