"""What a memory costs on the device: folding, making adapters, decoding, each against the same work without memory.

Times are medians in milliseconds of sides that take turns, by clocks that wait for the device. Knows nothing of where
the weights come from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from benchmarks.loras import base_with_loras, peft_is_installed
from benchmarks.timing import forward, interleaved, timed, turn_of
from core.adapter import Adapter, distinct_bytes
from core.base import Base
from core.chat import Message, encode
from core.decoding import Decoding, Row, Sampling
from core.engine import Engine
from core.errors import DeviceError, first_line
from core.reading import contribution
from core.state import State

PROMPT_TOKENS = 64
STEPS_A_REPEAT = 4  # a step of decoding is a small part of a fold
COPIED_BYTES, COPIES = 256 * 2**20, 8  # beyond any cache; several, so that the launch of one does not count
Result = TypeVar("Result")
Calls = Mapping[str, Callable[[], object]]
Figures = list[dict[str, Any]]


@dataclass(frozen=True)
class Contender:
    """A way to decode: how to begin, and the adapters that each of its steps reads."""

    start: Callable[[], Decoding]
    adapters: Sequence[Adapter] = ()

    def begin(self) -> Decoding:
        """Read the prompt, and take one step that only warms up."""
        decoding = self.start()
        for _ in range(2):
            decoding.step()
        return decoding


def copy_bandwidth(engine: Engine, repeats: int) -> float:
    """Bytes a second, those read and those written, of copies within the device's memory."""
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=engine.base.device)
    target = torch.empty_like(source)

    def copies() -> None:
        for _ in range(COPIES):
            target.copy_(source)

    milliseconds = interleaved({"copies": timed(engine, copies)}, repeats)["copies"]
    return 2 * COPIES * COPIED_BYTES * 1000 / milliseconds


def fold(engines: Mapping[str, Engine], tokens: int, repeats: int, bandwidth: float) -> Figures:
    """Folding a turn of at most so many tokens, against the bare decoder over the same ones, without LM head.

    Per kind of generator: `contribution` is the method alone, on the device; `into nothing` and `into a memory` are
    the engine's whole fold, with tokenising and the state's way to the device and back. The published kind reads with
    the adapter of what is there, so that its last one has a decomposition in it.
    """
    rows = _against_forward(engines, tokens, repeats, _fold_calls)
    return [_limited(row, weight_bytes_of_layers(engines), bandwidth) for row in rows]


def _fold_calls(engine: Engine, turn: Sequence[Message]) -> Calls:
    window, empty = torch.tensor(encode(engine.tokenizer, turn, reply=False)), engine.empty_state()
    held = engine.fold(empty, turn)
    return {
        "contribution": lambda: contribution(engine.base, engine.generator, window),
        "into nothing": lambda: engine.fold(empty, turn),
        "into a memory": lambda: engine.fold(held, turn),
    }


def materialise(engines: Mapping[str, Engine], tokens: int, repeats: int) -> Figures:
    """The adapter of a state that holds such a turn and lies on the host, against the bare decoder over its tokens.

    It has no limit of bandwidth here: what takes its time is a decomposition, and the way from the host.
    """
    return _against_forward(engines, tokens, repeats, _materialise_calls)


def _materialise_calls(engine: Engine, turn: Sequence[Message]) -> Calls:
    state = engine.fold(engine.empty_state(), turn)
    return {
        "adapter": lambda: engine.materialise(state),
        "of which moving the state": lambda: state.sums.to(engine.base.device),
    }


def _against_forward(
    engines: Mapping[str, Engine], tokens: int, repeats: int, calls_of: Callable[[Engine, Sequence[Message]], Calls]
) -> Figures:
    engine = next(iter(engines.values()))
    turn = turn_of(engine, tokens)
    ids = encode(engine.tokenizer, turn, reply=False)
    calls: dict[str, Callable[[], object]] = {"bare forward": lambda: forward(engine, ids)}
    for kind, remembering in engines.items():
        calls |= {f"{kind}: {name}": call for name, call in calls_of(remembering, turn).items()}
    peaks = {name: _with_peak(engine, call)[1] for name, call in calls.items()}
    took = interleaved({name: timed(engine, call) for name, call in calls.items()}, repeats)
    return [{"tokens": len(ids)} | row for row in _rows(took, peaks)]


def decode(engines: Mapping[str, Engine], users: int, repeats: int, bandwidth: float) -> Figures:
    """One step of a reply to each user, every one with a memory of their own, against the same rows without memory.

    `limit_ms` is the time in which the device copies as many bytes as the step reads weights and adapters.
    """
    engine = next(iter(engines.values()))
    prompt = encode(engine.tokenizer, turn_of(engine, PROMPT_TOKENS), reply=False)
    contenders = {"no memory": _contender(engine.base, prompt, [None] * users)}
    for kind, remembering in engines.items():
        adapters = memories(remembering, users)
        contenders[f"{kind} memories"] = _contender(engine.base, prompt, adapters)
        if peft_is_installed():
            contenders[f"{kind} memories through peft"] = through_peft(engine.base, prompt, adapters)
        if engine.base.device.type == "cuda":
            contenders[f"{kind} memories, compiled"] = in_compiled_steps(remembering, prompt, adapters)
    rows = _stepped(engine, contenders, STEPS_A_REPEAT * repeats)
    weights = weight_bytes_a_step(engine.base)
    for row in rows:
        read = distinct_bytes(contenders[row["side"]].adapters)
        row |= {"tokens_per_second": round(users * 1000 / row["ms"], 1), "adapter_bytes": read}
        _limited(row, weights + read, bandwidth)
    return rows


def _limited(row: dict[str, Any], read: int, bandwidth: float) -> dict[str, Any]:
    limit = 1000 * read / bandwidth
    row |= {"limit_ms": round(limit, 3), "over_limit": round(row["ms"] / limit, 3)}
    return row


def memories(engine: Engine, users: int) -> list[Adapter]:
    """An adapter for each user, as the engine makes them.

    The published kind needs a decomposition a layer for each, so only the first is made: the others are its factors
    rolled, as large and with other numbers at every place.
    """
    if not engine.generator.reads_sequentially:
        return [engine.materialise(_noise(engine)) for _ in range(users)]
    first = engine.materialise(_noise(engine))
    return [
        Adapter(*(tuple(f.roll(i, -2) for f in side) for side in (first.lora_A, first.lora_B))) for i in range(users)
    ]


def _noise(engine: Engine) -> State:
    return State(torch.randn(engine.generator.state_shape))


def _contender(base: Base, prompt: Sequence[int], adapters: Sequence[Adapter | None]) -> Contender:
    rows = [Row(prompt, adapter, Sampling()) for adapter in adapters]
    return Contender(lambda: Decoding(base, rows), [adapter for adapter in adapters if adapter])


def through_peft(base: Base, prompt: Sequence[int], adapters: Sequence[Adapter]) -> Contender:
    """The same adapters and the same decoding, with peft's mixed batch in place of ours."""
    rows = [Row(prompt, None, Sampling())] * len(adapters)
    return Contender(lambda: Decoding(base_with_loras(base, adapters), rows), adapters)


def in_compiled_steps(engine: Engine, prompt: Sequence[int], adapters: Sequence[Adapter]) -> Contender:
    """The same steps as one graph of kernels; the prompt is read and the step compiled before anything is timed."""

    def begin() -> Decoding:
        from core.compiled import CompiledDecoding

        read = Decoding(engine.base, [Row(prompt, adapter, Sampling()) for adapter in adapters])
        read.step()
        steps = CompiledDecoding(engine.base, adapters[0], rows=len(adapters))
        steps.join(read, range(len(adapters)))
        return steps

    return Contender(begin, adapters)


def _stepped(engine: Engine, contenders: Mapping[str, Contender], steps: int) -> Figures:
    """Time steps after the prompt; the peak is that of beginning. A way that this device cannot go is left out."""
    begun, peaks = dict[str, Decoding](), dict[str, int | None]()
    for name, contender in contenders.items():
        try:
            begun[name], peaks[name] = _with_peak(engine, contender.begin)
        except (DeviceError, torch.OutOfMemoryError) as error:
            print(f"{name}: not measured ({first_line(error)})", file=sys.stderr)
    took = interleaved({name: timed(engine, decoding.step) for name, decoding in begun.items()}, steps)
    return _rows(took, peaks)


def _with_peak(engine: Engine, call: Callable[[], Result]) -> tuple[Result, int | None]:
    """What the call returns, and by how much the GPU's memory grew at most in it; a CPU does not count: None."""
    device = engine.base.device
    if device.type != "cuda":
        return call(), None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = call()
    return result, torch.cuda.max_memory_allocated(device) - before


def _rows(took: Mapping[str, float], peaks: Mapping[str, int | None]) -> Figures:
    """The first side is what the others are a multiple of."""
    reference = next(iter(took.values()))
    return [
        {"side": name, "ms": ms, "ratio": round(ms / reference, 3), "peak_bytes": peaks[name]}
        for name, ms in took.items()
    ]


def weight_bytes_a_step(base: Base) -> int:
    """Bytes of the base's weights that a step reads: all but the input embeddings, of which it looks up some rows."""
    embeddings = base.model.get_input_embeddings().weight
    looked_up = 0 if embeddings is base.head.weight else embeddings.nbytes
    return sum(weight.nbytes for weight in base.model.parameters()) - looked_up


def weight_bytes_of_layers(engines: Mapping[str, Engine]) -> int:
    """Bytes of the base's layers, all of which a forward pass without LM head reads, and a fold all but the last."""
    base = next(iter(engines.values())).base
    return sum(weight.nbytes for layer in base.layers for weight in layer.parameters())
