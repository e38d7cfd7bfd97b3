"""What a memory costs on the device: folding, making adapters, decoding, each against the same work without memory.

Times are medians in milliseconds of sides that take turns, by clocks that wait for the device. `limit_ms` is the least
that the device could take, at the bytes a second that it copies and the operations a second that it multiplies with
(`Work` in geometry.py). Knows nothing of where the weights come from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import torch

from benchmarks.decomposition import state_of, ways
from benchmarks.geometry import Work, adapters_work, fold_work, forward_work, memories, step_work
from benchmarks.loras import base_with_loras, peft_is_installed
from benchmarks.timing import forward, interleaved, timed, turn_of
from core.adapter import Adapter, distinct_bytes
from core.base import Base
from core.chat import Message, encode
from core.decoding import Decoding, Row, Sampling
from core.engine import Engine
from core.errors import first_line
from core.generator import PublishedGenerator
from core.reading import contribution

PROMPT_TOKENS = 64
STEPS_A_REPEAT = 4  # a step of decoding is a small part of a fold
STEPS_BEFORE = 3  # the one that reads the prompt, and two to warm up
COLUMNS_AT_ONCE = 256  # that a compiled step has room for: it attends to all of them, used or not
COPIED_BYTES, COPIES = 256 * 2**20, 8  # beyond any cache; several, so that the launch of one does not count
MULTIPLIED = {"cuda": 8192, "cpu": 1024}  # rows and columns: enough for a GPU to be busy would keep a CPU for long
GREEDY = Sampling()
SAMPLINGS = {
    "greedy": GREEDY,
    "temperature 0.7, top_p 1.0": Sampling(temperature=0.7),
    "temperature 0.7, top_p 0.9": Sampling(temperature=0.7, top_p=0.9),
}
Result = TypeVar("Result")
Calls = dict[str, Callable[[], object]]
Rates = Mapping[torch.dtype, float]
Figures = list[dict[str, Any]]


@dataclass(frozen=True)
class Contender:
    """A way to decode: how to begin, and how many bytes of adapters and columns of the cache a step of it reads."""

    start: Callable[[], AbstractContextManager[Decoding]]
    columns: int
    adapters: Sequence[Adapter] = ()
    adapter_bytes: int = 0

    def begin(self, until: ExitStack) -> Decoding:
        """Read the prompt, and take one step that only warms up; what was begun ends with `until`."""
        decoding = until.enter_context(self.start())
        for _ in range(STEPS_BEFORE - 1):  # the last one before is the clock's own
            decoding.step()
        return decoding


def copy_bandwidth(engine: Engine, repeats: int) -> float:
    """Bytes a second, those read and those written, of copies within the device's memory, of bytes as they come."""
    source = torch.randint(256, (COPIED_BYTES,), dtype=torch.uint8, device=engine.base.device)
    target = torch.empty_like(source)

    def copies() -> None:
        for _ in range(COPIES):
            target.copy_(source)

    milliseconds = interleaved({"copies": timed(engine.base.device, copies)}, repeats)["copies"]
    return 2 * COPIES * COPIED_BYTES * 1000 / milliseconds


def matmul_rates(engine: Engine, repeats: int) -> dict[torch.dtype, float]:
    """Operations a second of products of large matrices, in the number types of the base and of the generator."""
    device, n, rates = engine.base.device, MULTIPLIED[engine.base.device.type], {}
    for dtype in dict.fromkeys([engine.base.dtype, *(weight.dtype for weight in engine.generator.parameters())]):
        one, other = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        product = timed(engine.base.device, partial(torch.mm, one, other))
        rates[dtype] = 2 * n**3 * 1000 / interleaved({"product": product}, repeats)["product"]
    return rates


def decomposition(engines: Mapping[str, Engine], repeats: int) -> Figures:
    """The directions of one layer's state, of which an adapter of the published kind takes one for every layer."""
    engine = engines["published"]
    generator = cast(PublishedGenerator, engine.generator)
    state = state_of(generator.state_shape[-1]).to(engine.base.device)
    return _timed_calls(engine, {name: partial(way.run, state) for name, way in ways(generator.rank).items()}, repeats)


def fold(
    engines: Mapping[str, Engine], tokens: int, repeats: int, bandwidth: float, rates: Rates, decomposing: bool = False
) -> Figures:
    """Folding a turn of at most so many tokens, against the bare decoder over the same ones, without LM head.

    Per kind of generator: `contribution` is the method alone, on the device; `into nothing` and `into a memory` are
    the engine's whole fold, with tokenising and the state's way to the device and back. The published kind reads with
    the adapter of what is there, so that its last one has a decomposition in it: `decomposing` asks for that one
    alone, and else it is left out. The limit is that of a contribution for all of them.
    """
    base = next(iter(engines.values())).base
    rows = _against_forward(engines, tokens, repeats, _decomposing_calls if decomposing else _fold_calls)
    for row in rows:
        kind, count = row["side"].partition(":")[0], row["tokens"]
        work = fold_work(base, engines[kind].generator, count) if kind in engines else forward_work(base, count)
        _limit(row, work, bandwidth, rates)
    return rows


def _fold_calls(engine: Engine, turn: Sequence[Message]) -> Calls:
    window, empty = torch.tensor(encode(engine.tokenizer, turn, reply=False)), engine.empty_state()
    calls: Calls = {
        "contribution": lambda: contribution(engine.base, engine.generator, window),
        "into nothing": lambda: engine.fold(empty, turn),
    }
    return calls if engine.reads_sequentially else calls | _into_a_memory(engine, turn)


def _decomposing_calls(engine: Engine, turn: Sequence[Message]) -> Calls:
    return _into_a_memory(engine, turn) if engine.reads_sequentially else {}


def _into_a_memory(engine: Engine, turn: Sequence[Message]) -> Calls:
    held = engine.fold(engine.empty_state(), turn)
    return {"into a memory": lambda: engine.fold(held, turn)}


def materialise(engines: Mapping[str, Engine], tokens: int, repeats: int) -> Figures:
    """The adapter of a state that holds such a turn and lies on the host, against the bare decoder over its tokens.

    It has no limit here: what takes its time is a decomposition, and the way from the host.
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
    calls: Calls = {"bare forward": lambda: forward(engine, ids)}
    for kind, remembering in engines.items():
        calls |= {f"{kind}: {name}": call for name, call in calls_of(remembering, turn).items()}
    return [{"tokens": len(ids)} | row for row in _timed_calls(engine, calls, repeats)]


def decode(
    engines: Mapping[str, Engine], users: int, repeats: int, bandwidth: float, rates: Rates | None = None
) -> Figures:
    """One step of a reply to each user, every one with a memory of their own, against the same rows without memory."""
    steps, contenders = STEPS_A_REPEAT * repeats, dict[str, Contender]()
    for kind, engine in engines.items():
        prompt, adapters = prompt_of(engine), memories(engine, users)
        contenders.setdefault("no memory", plain(engine.base, prompt, [None] * users, steps))
        contenders[f"{kind} memories"] = plain(engine.base, prompt, adapters, steps)
        if peft_is_installed():
            contenders[f"{kind} memories through peft"] = through_peft(engine.base, prompt, adapters, steps)
    return _stepped(engine, contenders, users, steps, bandwidth, rates or {})


def decode_compiled(engines: Mapping[str, Engine], users: int, repeats: int, bandwidth: float, rates: Rates) -> Figures:
    """The same with steps that are one graph of kernels, each kind by itself: compiling takes long, and may fail."""
    steps, rows = STEPS_A_REPEAT * repeats, Figures()
    for kind, engine in engines.items():
        prompt, adapters = prompt_of(engine), memories(engine, users)
        contenders = {
            "no memory": plain(engine.base, prompt, [None] * users, steps),
            f"{kind} memories, compiled": in_compiled_steps(engine, prompt, adapters, steps),
        }
        rows += _stepped(engine, contenders, users, steps, bandwidth, rates)
    return rows


def decode_sampled(engines: Mapping[str, Engine], users: int, repeats: int, bandwidth: float, rates: Rates) -> Figures:
    """Steps without memory, by how tokens are chosen: of chances that are all alike, as random weights give them."""
    engine, steps = next(iter(engines.values())), STEPS_A_REPEAT * repeats
    prompt, nobody = prompt_of(engine), [None] * users
    contenders = {name: plain(engine.base, prompt, nobody, steps, how) for name, how in SAMPLINGS.items()}
    return _stepped(engine, contenders, users, steps, bandwidth, rates)


def prompt_of(engine: Engine) -> list[int]:
    """What each row reads first."""
    return encode(engine.tokenizer, turn_of(engine, PROMPT_TOKENS), reply=False)


def plain(
    base: Base, prompt: Sequence[int], adapters: Sequence[Adapter | None], steps: int, sampling: Sampling = GREEDY
) -> Contender:
    """Decoding as it is, with a row for each of the adapters."""
    rows, given = [Row(prompt, adapter, sampling) for adapter in adapters], [one for one in adapters if one]
    return Contender(lambda: nullcontext(Decoding(base, rows)), written(prompt, steps), given, distinct_bytes(given))


def through_peft(base: Base, prompt: Sequence[int], adapters: Sequence[Adapter], steps: int) -> Contender:
    """The same adapters and the same decoding, with peft's mixed batch in place of ours, which shares no factor."""
    rows, read = [Row(prompt, None, GREEDY)] * len(adapters), sum(adapter.nbytes for adapter in adapters)
    return Contender(
        lambda: nullcontext(Decoding(base_with_loras(base, adapters), rows)), written(prompt, steps), adapters, read
    )


def in_compiled_steps(engine: Engine, prompt: Sequence[int], adapters: Sequence[Adapter], steps: int) -> Contender:
    """The same steps as one graph of kernels; the prompt is read and the step compiled before anything is timed."""
    columns = -(-(len(prompt) + STEPS_BEFORE + 1 + steps) // COLUMNS_AT_ONCE) * COLUMNS_AT_ONCE

    @contextmanager
    def start() -> Iterator[Decoding]:
        from core.compiled import CompiledDecoding

        read = Decoding(engine.base, [Row(prompt, adapter, GREEDY) for adapter in adapters])
        read.step()
        with closing(CompiledDecoding(engine.base, adapters[0], len(adapters), columns)) as compiled:
            compiled.join(read, range(len(adapters)))
            yield compiled

    return Contender(start, columns, adapters, distinct_bytes(adapters))


def written(prompt: Sequence[int], steps: int) -> int:
    """Columns of the cache that the middle one of so many timed steps attends to."""
    return len(prompt) + STEPS_BEFORE - 1 + (steps + 1) // 2


def _stepped(
    engine: Engine, contenders: Mapping[str, Contender], users: int, steps: int, bandwidth: float, rates: Rates
) -> Figures:
    """Time steps after the prompt; the peak is that of beginning."""
    with ExitStack() as until:
        begun, peaks = _tried(engine, {name: partial(one.begin, until) for name, one in contenders.items()})
        took = interleaved({name: timed(engine.base.device, decoding.step) for name, decoding in begun.items()}, steps)
    rows, weights = _rows(took, peaks), step_work(engine.base, users)
    for row in rows:
        one = contenders[row["side"]]
        read = {"adapter_bytes": one.adapter_bytes, "cache_bytes": users * one.columns * engine.cache_a_token}
        row |= {"tokens_per_second": round(users * 1000 / row["ms"], 1), **read}
        _limit(row, weights + adapters_work(one.adapters, sum(read.values()), engine.base.dtype), bandwidth, rates)
    return rows


def _limit(row: dict[str, Any], work: Work, bandwidth: float, rates: Rates) -> None:
    limit = work.limit_ms(bandwidth, rates)
    row |= {"limit_ms": round(limit, 3), "over_limit": round(row["ms"] / limit, 3)}


def _timed_calls(engine: Engine, calls: Calls, repeats: int) -> Figures:
    done, peaks = _tried(engine, calls)
    return _rows(interleaved({name: timed(engine.base.device, calls[name]) for name in done}, repeats), peaks)


def _tried(
    engine: Engine, calls: Mapping[str, Callable[[], Result]]
) -> tuple[dict[str, Result], dict[str, int | None]]:
    """What each returns, and its peak. One that fails is left out; without the first, there is nothing to compare."""
    done, peaks = dict[str, Result](), dict[str, int | None]()
    for name, call in calls.items():
        try:
            done[name], peaks[name] = _with_peak(engine, call)
        except Exception as error:  # another library's, of a version that is not known here
            if not done:
                raise
            print(f"{name}: not measured ({first_line(error)}).", file=sys.stderr, flush=True)
    return done, peaks


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
