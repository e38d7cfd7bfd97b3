"""The model that ships, and a copy of it whose base is in whole weights: in fewer bits only those can be opened."""

from __future__ import annotations

from pathlib import Path

from core.checkpoint import load_checkpoint, save_checkpoint
from core.device import Choice, resolve
from core.generator import GatedGenerator
from core.origin import Origin

BUNDLED = Path(__file__).parent.parent / "models" / "imprint-mini"


def in_whole_weights(at: Path) -> Path:
    """Write the bundled model there, in bfloat16."""
    bundled = load_checkpoint(Origin(str(BUNDLED)), resolve(Choice("cpu")))
    assert isinstance(bundled.generator, GatedGenerator)
    save_checkpoint(at, bundled.base.model, bundled.generator, bundled.tokenizer)
    return at
