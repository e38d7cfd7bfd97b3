"""Sides that are timed in turns, by clocks that wait for the device, and the turn that they work on.

Knows the engine alone: it runs where nothing of the app is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from statistics import median

import torch
from tqdm import tqdm

from core.chat import Message, encode
from core.engine import Engine

SENTENCE = "I water the roses before work and in the evening my sister picks a few apples for us"
Side = Callable[[], float]


def turn_of(engine: Engine, most_tokens: int) -> list[Message]:
    """The longest turn of at most so many tokens, half of it said and half answered; at least a word each."""
    words = 2
    while len(encode(engine.tokenizer, _turn_of_words(words + 1), reply=False)) <= most_tokens:
        words += 1
    return _turn_of_words(words)


def _turn_of_words(words: int) -> list[Message]:
    text = list(islice(cycle(SENTENCE.split()), words))
    half = words - words // 2
    return [Message("user", " ".join(text[:half])), Message("assistant", " ".join(text[half:]))]


def forward(engine: Engine, ids: Sequence[int]) -> None:
    """The bare base over these tokens: no hooks, no key-value cache, no LM head; a fold reads one layer less."""
    with torch.inference_mode():
        engine.base.decoder(input_ids=torch.tensor([ids], device=engine.base.device), use_cache=False)


def timed(device: torch.device, call: Callable[[], object]) -> Side:
    """A side that takes as long as the call, a GPU's part included."""

    def side() -> float:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    return side


def interleaved(sides: Mapping[str, Side], repeats: int) -> dict[str, float]:
    """Median milliseconds of each side; they take turns, so that what else the machine does slows all alike."""
    for side in sides.values():
        side()  # the first time is a warm-up
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in tqdm(range(repeats), desc=" / ".join(sides), leave=False, disable=None):
        for name, side in sides.items():
            taken[name].append(side())
    return {name: round(1000 * median(seconds), 3) for name, seconds in taken.items()}
