"""The bundled model on a GPU: bfloat16 within stated bounds of float32 on the CPU, and rows that stay apart.

The bounds are three to six times what bfloat16 differs from float32 on a CPU: a GPU adds in other orders.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.decomposition import state_of
from benchmarks.parity import TOLERANCE, differences
from core.adapter import Adapter, stack
from core.base import Base
from core.chat import Message, encode
from core.checkpoint import Checkpoint, load_checkpoint
from core.compiled import CompiledDecoding
from core.decoding import Decoding, Row, Sampling
from core.device import FLASH, Bits, Choice, Placement, _obstacle, resolve
from core.engine import Engine, load_engine
from core.origin import Origin
from core.readout import polar, polar_factors
from tests.bundled import BUNDLED, in_whole_weights
from tests.core.families import FAMILIES, generator_for, model_of
from tests.tiny import tiny_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
FIXTURES = Path(__file__).parent.parent / "fixtures" / "reference_generator"
STATE_BOUND = 0.02  # of a layer's norm
CHANCE_BOUND = 0.05  # of the chance of the next token, in total, at any place
PARITY_BOUND = 0.04  # of a logit, and of a state's largest number
TURN = [Message("user", "My name is Marta and I live in Vienna."), Message("assistant", "Nice to meet you, Marta!")]
OTHERS = ["My cat is called Mikesch.", "I work as a baker in Oslo."]
ASK = [Message("user", "What is my name?")]


@pytest.fixture(scope="module")
def on_cpu() -> Engine:
    return load_engine(Origin(str(BUNDLED)), Choice("cpu"))


@pytest.fixture(scope="module")
def on_gpu() -> Engine:
    return load_engine(Origin(str(BUNDLED)), Choice("cuda"))


def placed(dtype: torch.dtype, attention: str) -> Engine:
    return Engine(
        load_checkpoint(Origin(str(BUNDLED)), Placement(torch.device("cuda"), dtype, attention, "chosen by the test"))
    )


def chances(engine: Engine, adapter: Adapter | None, rows: int = 1) -> Tensor:
    """Of every next token at every place of the question, (rows, T, vocabulary)."""
    ids = torch.tensor([encode(engine.tokenizer, ASK, reply=True)] * rows, device=engine.base.device)
    with torch.inference_mode(), engine.base.adapted(adapter):
        return engine.base.model(input_ids=ids).logits.float().softmax(-1).cpu()


def distance(one: Tensor, other: Tensor) -> float:
    """Total variation, the largest of any place."""
    return float((one - other).abs().sum(-1).max() / 2)


def memory(engine: Engine, turn: list[Message] = TURN) -> Adapter:
    return engine.materialise(engine.fold(engine.empty_state(), turn))


def memories(engine: Engine) -> list[Adapter]:
    return [memory(engine), *(memory(engine, [Message("user", text)]) for text in OTHERS)]


def test_it_computes_in_bfloat16_on_the_gpu(on_gpu: Engine) -> None:
    assert (on_gpu.base.device.type, on_gpu.base.dtype) == ("cuda", torch.bfloat16)


def test_a_state_is_within_its_bound_of_that_on_the_cpu(on_cpu: Engine, on_gpu: Engine) -> None:
    ours, reference = (engine.fold(engine.empty_state(), TURN).sums for engine in (on_gpu, on_cpu))
    gaps = torch.linalg.matrix_norm(ours - reference) / torch.linalg.matrix_norm(reference)
    assert ours.dtype == torch.float32
    assert float(gaps.max()) <= STATE_BOUND


def test_the_chances_of_a_reply_are_within_their_bound_of_those_on_the_cpu(on_cpu: Engine, on_gpu: Engine) -> None:
    reference = chances(on_cpu, memory(on_cpu))
    assert distance(chances(on_gpu, memory(on_gpu)), reference) <= CHANCE_BOUND
    assert distance(chances(on_gpu, None), reference) > CHANCE_BOUND


def test_a_reply_on_the_gpu_in_float32_is_that_of_the_cpu(on_cpu: Engine) -> None:
    exact = placed(torch.float32, "sdpa")
    ours, reference = ("".join(e.reply(memory(e), ASK, Sampling(max_tokens=24))) for e in (exact, on_cpu))
    assert ours == reference


def test_a_reply_in_bfloat16_knows_what_was_told(on_gpu: Engine) -> None:
    assert "Marta" in "".join(on_gpu.reply(memory(on_gpu), ASK))
    assert "Marta" not in "".join(on_gpu.reply(None, ASK))


@pytest.mark.parametrize("name", ["mistral_full", "llama_rank8"])
def test_the_published_format_matches_the_reference_in_every_mode(name: str) -> None:
    assert max(differences(FIXTURES / name, torch.float32, "cuda").values()) <= TOLERANCE
    assert max(differences(FIXTURES / name, torch.bfloat16, "cuda").values()) <= PARITY_BOUND


def test_the_directions_of_a_wide_state_and_their_gradient_are_those_of_the_cpu() -> None:
    found, seen = [], torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    for device in ("cuda", "cpu"):
        state = state_of(1024).to(device).requires_grad_()
        u, w = polar_factors(state.detach(), 128)
        trained = polar(state, 128)
        trained.backward(seen.to(device))
        assert state.grad is not None
        found.append([(u @ w.mT).cpu(), trained.detach().cpu(), state.grad.cpu() / state.grad.norm().cpu()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_folds_what_it_folds_on_the_cpu_and_an_empty_memory_is_the_base(family: str) -> None:
    ours, theirs = (family_on(family, device) for device in ("cuda", "cpu"))
    told, expected = (engine.fold(engine.empty_state(), TURN).sums for engine in (ours, theirs))
    torch.testing.assert_close(told, expected, atol=1e-3, rtol=1e-3)
    empty = ours.materialise(ours.empty_state())
    assert torch.equal(ours.logits(empty, ASK), ours.logits(None, ASK))
    memory = ours.materialise(ours.fold(ours.empty_state(), TURN))
    written = "".join(ours.reply(memory, ASK, Sampling(max_tokens=8)))
    assert written == ours.reply_all([(memory, ASK)], Sampling(max_tokens=8))[0]


def family_on(family: str, device: str) -> Engine:
    base = Base(model_of(family).to(device))
    return Engine(Checkpoint(family, "f" * 64, base, generator_for(base).to(device), tiny_tokenizer()))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_base_in_few_bits_remembers(bits: Bits, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    few = load_engine(Origin(str(in_whole_weights(tmp_path))), Choice("cuda", bits=bits))
    assert "Marta" in "".join(few.reply(memory(few), ASK))


def test_an_empty_memory_is_the_bare_base_bit_for_bit(on_gpu: Engine) -> None:
    assert torch.equal(chances(on_gpu, on_gpu.materialise(on_gpu.empty_state())), chances(on_gpu, None))


def test_flash_attn_is_used_where_it_can_be_imported(on_gpu: Engine) -> None:
    usable = [kernel for kernel in FLASH if not _obstacle(kernel, torch.device("cuda"), torch.bfloat16)]
    if not usable:
        pytest.skip("no flash-attn can be used here")
    assert on_gpu.base.model.config._attn_implementation == usable[0]
    assert distance(chances(on_gpu, None), chances(placed(torch.bfloat16, "sdpa"), None)) <= CHANCE_BOUND


def test_without_flash_attn_attention_runs_through_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, *_ in FLASH.values():
        monkeypatch.setitem(sys.modules, module, None)
    assert resolve(Choice("cuda")).attention == "sdpa"
    assert load_engine(Origin(str(BUNDLED)), Choice("cuda")).base.model.config._attn_implementation == "sdpa"


def test_rows_with_different_memories_are_within_the_bound_of_single_rows(on_gpu: Engine) -> None:
    adapters = memories(on_gpu)
    together = chances(on_gpu, stack(adapters), len(adapters))
    alone = torch.cat([chances(on_gpu, adapter) for adapter in adapters])
    assert distance(together, alone) <= CHANCE_BOUND
    assert min(distance(alone[0], alone[i]) for i in (1, 2)) > CHANCE_BOUND


# What is said of float32 here: TensorFloat32 would be faster. It would also be other numbers.
@pytest.mark.filterwarnings("ignore:TensorFloat32")
def test_compiled_steps_write_what_plain_ones_write() -> None:
    exact = placed(torch.float32, "sdpa")
    steps = CompiledDecoding(exact.base, exact.materialise(exact.empty_state()), rows=4, columns=256)
    prompt = encode(exact.tokenizer, ASK, reply=True)
    rows = [Row(prompt, adapter, Sampling()) for adapter in [*memories(exact), None]]
    plain, read = Decoding(exact.base, rows), Decoding(exact.base, rows)
    first = plain.step()
    assert read.step() == first
    places = steps.join(read, range(4))
    for _ in range(8):
        tokens = steps.step()
        assert [tokens[place] for place in places] == plain.step()


def test_rows_with_different_memories_write_what_single_rows_write() -> None:
    """In float32, where no two tokens are as good as equal; with prompts of different lengths, and a bare row."""
    exact = placed(torch.float32, "sdpa")
    asked = [ASK, [Message("user", "Where?")], [Message("user", "What is my cat called, and why?")], ASK]
    prompts = [encode(exact.tokenizer, messages, reply=True) for messages in asked]
    rows = [Row(p, a, Sampling()) for p, a in zip(prompts, [*memories(exact), None], strict=True)]
    together, alone = Decoding(exact.base, rows), [Decoding(exact.base, [row]) for row in rows]
    for _ in range(8):
        assert together.step() == [decoding.step()[0] for decoding in alone]
