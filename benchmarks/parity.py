"""`python -m benchmarks.parity DIR`: does the engine compute what the research code computes?

DIR holds `base/`, `generator/` and `expected.safetensors` (METHOD 5). All goes through the engine as a chat has it:
messages are folded, a state becomes an adapter, and the query is read with it. Prints the largest difference of the
query's logits in each of the three reading modes; exits with 1 where one is beyond 1e-4, or beyond 0.02 in bfloat16.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import reduce
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from core.base import Base
from core.chat import Message
from core.checkpoint import Checkpoint, load_generator
from core.device import Placement
from core.engine import Engine
from core.errors import CoreError
from core.opening import load_base
from core.state import State

TOLERANCE, TOLERANCE_IN_HALF = 1e-4, 2e-2
WINDOWS = 4
REFERENCE = Placement(torch.device("cpu"), torch.float32, "sdpa", "the reference was computed so")
WORDS_ALONE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def differences(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> dict[str, float]:
    """Largest absolute difference per mode: the bare base, one window, parallel, sequential, and the final state.

    `dtype` is what the base computes in, on this device; the generator is in float32 always.
    """
    expected = load_file(folder / "expected.safetensors")
    context, query = expected["context_ids"][0], _said(expected["query_ids"][0])
    engine = _engine(folder, replace(REFERENCE, dtype=dtype, device=torch.device(device)), window=len(context))
    empty, turns = engine.empty_state(), [_said(window) for window in context.chunk(WINDOWS)]
    states = {
        "base": empty,
        "concat": engine.fold(empty, _said(context)),
        "parallel": reduce(State.__add__, [engine.fold(empty, turn) for turn in turns]),
        "sequential": reduce(engine.fold, turns, empty),
    }
    logits = {mode: engine.logits(engine.materialise(state), query) for mode, state in states.items()}
    result = {mode: _gap(ours, expected[f"logits_{mode}"][0]) for mode, ours in logits.items()}
    layers = range(len(engine.base.target_layers))
    theirs = torch.cat([expected[f"state.model.layers.{i}.base_layer.self_attn.o_proj"] for i in layers])
    scale = max(1.0, float(theirs.abs().max()))
    return result | {"state, relative": _gap(states["sequential"].whole, theirs) / scale}


def _engine(folder: Path, placement: Placement, window: int) -> Engine:
    """The engine of the folder, which reads up to `window` tokens of a turn at once."""
    base = Base(load_base(folder / "base", placement))
    generator = load_generator(folder / "generator", base).to(placement.device)
    generator.config = replace(generator.config, window=window)
    tokenizer = _numbers(base.model.config.vocab_size)
    return Engine(Checkpoint(folder.name, "reference", base, generator, tokenizer))


def _numbers(count: int) -> PreTrainedTokenizerFast:
    """A tokenizer of numbers: the reference is given in token ids, and an engine reads messages."""
    tokenizer = Tokenizer(models.WordLevel({str(number): number for number in range(count)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=WORDS_ALONE)


def _said(ids: Tensor) -> list[Message]:
    """A turn of exactly these tokens."""
    return [Message("user", " ".join(map(str, ids.tolist())))]


def _gap(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.cpu() - theirs).abs().max())


def main() -> int:
    """Print one line per mode; 0 if all are within the tolerance, 1 if not, 2 if the folder cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bfloat16", action="store_true", help="have the base compute in bfloat16")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    arguments = parser.parse_args()
    folder, tolerance = arguments.folder, TOLERANCE_IN_HALF if arguments.bfloat16 else TOLERANCE
    try:
        found = differences(folder, torch.bfloat16 if arguments.bfloat16 else torch.float32, arguments.device)
    except (CoreError, OSError, KeyError) as error:
        print(f"{folder} cannot be compared: {error}", file=sys.stderr)
        return 2
    for mode, gap in found.items():
        print(f"{mode:16} {gap:.2e}  {'ok' if gap <= tolerance else 'DIFFERS'}")
    return 0 if max(found.values()) <= tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
