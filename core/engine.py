"""The engine: base and generator together, which remembers (fold) and replies.

Everything about a user is an argument and a return value; the engine keeps nothing between calls and sees no database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from core.adapter import Adapter
from core.base import Base
from core.batching import Batching
from core.chat import Message, encode
from core.checkpoint import Checkpoint, load_checkpoint
from core.decoding import Decoding, Row, Sampling, rows_come_and_go
from core.device import Choice, resolve
from core.errors import PromptError, StateError
from core.generator import Generator
from core.origin import Origin
from core.provenance import Exchange, Parts, alone, contributions, influences, margins
from core.reading import read_parallel, read_sequential
from core.state import State, total
from core.text import TextStream
from core.weighing import weighed

if TYPE_CHECKING:
    from core.compiled import CompiledDecoding


class Engine:
    """Folds messages into states and replies with the adapters made of them. Safe to call from any thread.

    With `compiled` the steps of replies are compiled first; raise DeviceError where they cannot be.
    """

    def __init__(self, checkpoint: Checkpoint, compiled: bool = False) -> None:
        self.name: str = checkpoint.name
        self.fingerprint: str = checkpoint.fingerprint
        self.base: Base = checkpoint.base
        self.generator: Generator = checkpoint.generator
        self.tokenizer: PreTrainedTokenizerBase = checkpoint.tokenizer
        self.guidance: float = checkpoint.guidance if rows_come_and_go(self.base) else 1.0
        self._common = dict[Tensor, Tensor]()  # from a factor of the generator's own to the same where the base is
        own = self.tokenizer.eos_token_id
        self._ends = self.base.ends | (frozenset() if own is None else {own})
        self._batching = Batching(self.base, self._ends, self._compiled if compiled else None)

    @property
    def max_prompt_tokens(self) -> int:
        """How long a prompt may be; the rest of the base's context is for the reply."""
        return self.base.context_length * 3 // 4

    @property
    def cache_a_token(self) -> int:
        """Bytes of key-value cache that one token of a prompt takes."""
        return self.base.cached_a_token * self.base.dtype.itemsize

    @property
    def reads_sequentially(self) -> bool:
        """Whether each turn is read with the memory of those before it, so that nothing can be traced to one."""
        return self.generator.reads_sequentially

    def empty_state(self) -> State:
        """The state of a memory that holds nothing."""
        return State(self.generator.empty_sums())

    def check_state(self, state: State) -> None:
        """Raise StateError unless this engine's generator can have made the state."""
        expected = self.generator.state_shape
        if any(tuple(sums.shape) != expected for sums in (state.sums, state.whole)):
            raise StateError(
                f"The state has the shape {tuple(state.sums.shape)}, but {self.name} keeps {expected}; "
                "it belongs to another model: rebuild the memory from its turns."
            )
        if not bool(state.whole.isfinite().all()):
            raise StateError("The state holds numbers that are not finite; rebuild the memory from its turns.")

    def fold(
        self, state: State, messages: Sequence[Message], pinned: bool = False, adapter: Adapter | None = None
    ) -> State:
        """The state after one more turn: one forward pass over its tokens, without LM head or gradient.

        Nothing changes on failure: the result is a new, checked value. Messages longer than the generator's window
        are read in several, as one turn. A turn that is `pinned` does not fade with those after it. `adapter` is that
        of the state, if it is at hand: an engine that reads in sequence decomposes the state once more without it.
        """
        ids = torch.tensor(encode(self.tokenizer, messages, reply=False))
        windows = ids.split(self.generator.config.window)
        with torch.inference_mode():
            sums = state.sums.to(self.base.device)
            if self.reads_sequentially:  # where nothing fades
                result = State(read_sequential(self.base, self.generator, windows, sums, adapter).cpu())
            else:
                added = read_parallel(self.base, self.generator, windows)
                fading = self.generator.fold(sums, torch.zeros_like(sums) if pinned else added).cpu()
                kept = total(state.pinned, added.cpu()) if pinned else state.pinned
                result = State(fading, kept)
        self.check_state(result)
        return result

    def materialise(self, state: State) -> Adapter:
        """The adapter of a state; deterministic, one decomposition per layer."""
        with torch.inference_mode():
            sums = state.whole.to(self.base.device)
            return self._placed(self.generator.materialise(sums[None]))

    def fullness(self, state: State) -> float:
        """The share of all directions that reading the state uses, from 0 (empty) to 1."""
        with torch.inference_mode():
            return float(self.generator.fullness(state.whole.to(self.base.device)).mean())

    def left(self, pinned: Sequence[bool]) -> list[float]:
        """Of each turn in memory, oldest first, how much has not faded, from 0 to 1, over all layers."""
        ages = torch.arange(len(pinned) - 1, -1, -1) * ~torch.tensor(pinned, dtype=torch.bool)
        with torch.inference_mode():
            whole = torch.ones(len(pinned), self.generator.state_shape[0], 1, 1, device=self.base.device)
            return self.generator.aged(whole, ages.to(self.base.device)).mean((1, 2, 3)).tolist()

    def parts(self, turns: Sequence[Sequence[Message]], pinned: Sequence[bool] = ()) -> Parts:
        """What each of the `turns` in memory, oldest first, adds to it; `pinned` says which do not fade.

        Costs a forward pass over all of them. Raise PromptError for an engine that reads in sequence, whose turns
        cannot be told apart.
        """
        if self.reads_sequentially:
            raise PromptError(f"{self.name} reads turns in sequence, so nothing can be traced to one of them.")
        windows = [torch.tensor(encode(self.tokenizer, turn, reply=False)) for turn in turns]
        pieces = [window.split(self.generator.config.window) for window in windows]
        summed = contributions(self.base, self.generator, [piece for own in pieces for piece in own])
        owners = torch.tensor([i for i, own in enumerate(pieces) for _ in own], device=summed.device)
        whole = summed.new_zeros(len(turns), *summed.shape[1:]).index_add(0, owners, summed)
        return Parts(whole, tuple(pinned) or (False,) * len(turns))

    def influences(
        self, parts: Parts, exchanges: Sequence[Sequence[Message]], strength: float = 1.0
    ) -> list[list[float]]:
        """For each exchange, how much each turn of a memory of these `parts` spoke for its reply, in nats.

        An exchange ends with the reply; `strength` is that of the memory. The fall of ln p(reply) when the turn is left
        out of the state; see provenance.py.
        """
        return influences(self.base, self.generator, self._aged(parts), self._encoded(exchanges), strength)

    def alone(self, parts: Parts, exchanges: Sequence[Sequence[Message]]) -> list[list[float]]:
        """For each exchange, by how much each of the turns, by itself, raises ln p of its reply; see `influences`."""
        return alone(self.base, self.generator, self._aged(parts), self._encoded(exchanges))

    def lacking(self, parts: Parts, missing: Sequence[Sequence[int]]) -> list[Adapter]:
        """The adapters of the memory of these `parts` without each of the sets of `missing` turns."""
        aged = self._aged(parts)
        with torch.inference_mode():
            states = [aged.sum(0) - aged[list(numbers)].sum(0) for numbers in missing]
            adapters = [self.generator.materialise(state[None]) for state in states]
        return [self._placed(adapter) for adapter in adapters]

    def _compiled(self) -> CompiledDecoding:
        from core.compiled import CompiledDecoding  # the compiler takes a second to be imported

        return CompiledDecoding(self.base, self.materialise(self.empty_state()))

    def _placed(self, adapter: Adapter) -> Adapter:
        """The adapter where and how the base computes; a factor that all memories have in common is there once."""
        placed = adapter.to(self.base.device, self.base.dtype)
        factors = zip(adapter.lora_A, placed.lora_A, strict=True)
        common = (self._common.setdefault(a, b) if isinstance(a, nn.Parameter) else b for a, b in factors)
        return Adapter(tuple(common), placed.lora_B)

    def _aged(self, parts: Parts) -> Tensor:
        """What each turn is in the state that they make: (turns, layers, r_k, r_v)."""
        fading = ~torch.tensor(parts.pinned, dtype=torch.bool)
        ages = torch.arange(len(parts.pinned) - 1, -1, -1) * fading
        with torch.inference_mode():
            return self.generator.aged(parts.sums, ages.to(parts.sums.device))

    def margins(self, adapter: Adapter, exchanges: Sequence[Sequence[Message]]) -> list[float]:
        """For each exchange, which ends with its reply, by how much the adapter raises ln p of the reply, in nats."""
        return margins(self.base, adapter, self._encoded(exchanges))

    def recollections(self, adapter: Adapter, turns: Sequence[Sequence[Message]]) -> list[float]:
        """For each turn, by how much the adapter raises ln p of its words, the person's too, in nats.

        High for what a memory was told, near zero or below for what it was not. Words beyond the context are left out.
        """
        windows = [encode(self.tokenizer, turn, reply=False)[: self.base.context_length] for turn in turns]
        return margins(self.base, adapter, [Exchange(window[:1], window[1:]) for window in windows])

    def logits(self, adapter: Adapter | None, messages: Sequence[Message]) -> Tensor:
        """What the base expects after each token of the messages, (T, vocabulary), read with the adapter."""
        ids = torch.tensor([encode(self.tokenizer, messages, reply=False)], device=self.base.device)
        with torch.inference_mode(), self.base.adapted(adapter):
            return self.base.model(input_ids=ids, use_cache=False).logits[0]

    def _encoded(self, exchanges: Sequence[Sequence[Message]]) -> list[Exchange]:
        prompts = [encode(self.tokenizer, messages[:-1], reply=True) for messages in exchanges]
        wholes = [encode(self.tokenizer, messages, reply=False) for messages in exchanges]
        return [Exchange(prompt, whole[len(prompt) :]) for prompt, whole in zip(prompts, wholes, strict=True)]

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that `reply` would read."""
        return len(encode(self.tokenizer, messages, reply=True))

    def length_of(self, text: str) -> int:
        """Tokens of a text by itself, outside any conversation."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def reply(
        self,
        adapter: Adapter | None,
        messages: Sequence[Message],
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        stop: threading.Event | None = None,
    ) -> Iterator[str]:
        """Yield the reply in pieces, up to the end token, a stop string, `max_tokens`, or a token after `stop`.

        The adapter is on the base only while a step computes, so pieces may be pulled from any thread, at any pace.
        Raise PromptError at once for a prompt longer than `max_prompt_tokens`.
        """
        return self._stream(self._row(adapter, messages, sampling), stop or threading.Event())

    def reply_all(self, asked: Sequence[tuple[Adapter | None, Sequence[Message]]], sampling: Sampling) -> list[str]:
        """The whole replies to several prompts at once, each read with its own adapter; see `reply`.

        One step serves all rows, so prompts of like length waste least.
        """
        rows = [self._row(adapter, messages, sampling) for adapter, messages in asked]
        written = dict[int, str]()
        for guided in (True, False):
            places = [i for i, row in enumerate(rows) if row.is_guided is guided]
            written |= zip(places, self._written([rows[i] for i in places]), strict=True)
        return [written[i] for i in range(len(rows))]

    def _written(self, rows: Sequence[Row]) -> list[str]:
        """The replies of rows that are all guided, or none."""
        if not rows:
            return []
        texts = [TextStream(self.tokenizer, row.sampling.stop) for row in rows]
        written, writing = [""] * len(rows), set(range(len(rows)))
        room = self.base.context_length - max(len(row.prompt) for row in rows)
        for tokens in islice(self._steps(rows), min(rows[0].sampling.max_tokens, room)):
            for i in sorted(writing):
                ended = tokens[i] in self._ends
                written[i] += "" if ended else texts[i].push(tokens[i])
                if ended or texts[i].ended:
                    writing.remove(i)
            if not writing:
                break
        return [text + stream.finish() for text, stream in zip(written, texts, strict=True)]

    def _steps(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """The next token of each row, again and again."""
        if rows[0].is_guided:
            decoding, openings = weighed(self.base, rows, self._ends)
            yield from openings.T.tolist()
        else:
            decoding = Decoding(self.base, rows)
        while True:
            yield decoding.step()

    def _row(self, adapter: Adapter | None, messages: Sequence[Message], sampling: Sampling) -> Row:
        guides = self.guidance != 1 and adapter is not None and not adapter.adds_nothing
        return Row(self._prompt(messages), adapter, sampling, self.guidance if guides else 1.0)

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens before a reply; raise PromptError where they leave no room for one."""
        prompt = encode(self.tokenizer, messages, reply=True)
        if len(prompt) > self.max_prompt_tokens:
            raise PromptError(
                f"The prompt has {len(prompt)} tokens; {self.name} reads at most {self.max_prompt_tokens}. Shorten it."
            )
        return prompt

    def _stream(self, row: Row, stop: threading.Event) -> Iterator[str]:
        text = TextStream(self.tokenizer, row.sampling.stop)
        room = self.base.context_length - len(row.prompt)
        with closing(self._batching.tokens(row, min(row.sampling.max_tokens, room))) as tokens:
            for token in tokens:
                if piece := text.push(token):
                    yield piece
                if text.ended or stop.is_set():
                    break
        if rest := text.finish():
            yield rest


def load_engine(origin: Origin, choice: Choice = Choice()) -> Engine:  # noqa: B008 - frozen
    """Open a model where and how `choice` says; raise CoreError in one sentence if it cannot be."""
    return Engine(load_checkpoint(origin, resolve(choice)))
