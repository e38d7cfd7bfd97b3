"""What every benchmark says of where it ran, and the JSON line it prints last."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.engine import Engine


def commit() -> str:
    """The commit that is checked out; where a copy of one runs without its history, what COMMIT says."""
    if said := os.environ.get("COMMIT"):
        return said
    try:
        told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return "unknown"
    return told.stdout.strip() or "unknown"


def origin(engine: Engine) -> dict[str, Any]:
    """The commit, the model and the device behind a figure, and how far memories guide."""
    device = f"{engine.base.device.type} {str(engine.base.dtype).removeprefix('torch.')}"
    return {
        "model": f"{engine.name} {engine.fingerprint[:12]}",
        "device": device,
        "guidance": engine.guidance,
        "commit": commit(),
    }


def interval(right: int, asked: int) -> tuple[float, float] | None:
    """The 95 % interval of a share (Wilson 1927), None where nothing was asked."""
    if not asked:
        return None
    z2 = 1.96**2
    middle = (right + z2 / 2) / (asked + z2)
    half = 1.96 * (right * (asked - right) / asked + z2 / 4) ** 0.5 / (asked + z2)
    return (round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4))


def chance_of_more(ones: Sequence[float], others: Sequence[float]) -> float | None:
    """The chance that one of `ones` is larger than one of `others` (area under the ROC curve); None without either."""
    if not ones or not others:
        return None
    larger = sum((one > other) + 0.5 * (one == other) for one in ones for other in others)
    return round(larger / (len(ones) * len(others)), 4)


def finish(result: dict[str, Any], path: Path | None) -> None:
    """Print the JSON line, and write it to `path` if there is one."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))
