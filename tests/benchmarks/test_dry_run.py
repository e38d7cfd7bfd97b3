"""The dry run: at a tiny size, bytes are those of the arithmetic, and shared layers compute as others."""

from __future__ import annotations

import torch

from benchmarks.dry_run import PLACEMENT, measured
from benchmarks.geometry import TINY, random_base, random_engines, thin_base
from benchmarks.timing import SENTENCE


def test_every_size_is_as_computed() -> None:
    engines = random_engines(TINY, PLACEMENT, SENTENCE, thin=True)
    found = {kind: measured(engine) for kind, engine in engines.items()}
    for sizes in found.values():
        assert sizes["bytes_as_computed"] is True
        assert sizes["fold_ms"] > 0 and sizes["adapter_ms"] > 0
    assert found["published"]["of_which_shared"] == 0 < found["gated"]["of_which_shared"]


def test_a_thin_base_computes_as_one_whose_layers_happen_to_be_alike() -> None:
    torch.manual_seed(0)
    thin, whole = thin_base(TINY, PLACEMENT), random_base(TINY, PLACEMENT)
    whole.model.load_state_dict(thin.model.state_dict())
    ids = torch.arange(5, 25)[None]
    assert len(thin.layers) == len(whole.layers) == TINY.layers
    assert all(torch.equal(one, other) for one, other in zip(thin.read(ids), whole.read(ids), strict=True))
    numbers = [sum(p.numel() for p in base.model.parameters()) for base in (thin, whole)]
    assert numbers[0] < numbers[1]
