"""The command line and the engine of the benchmarks that make memories of their own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.errors import EXPECTED
from app.settings import load_settings
from core.engine import Engine, load_engine


def parse(description: str | None, memories: int) -> argparse.Namespace:
    """How many memories, drawn with which seed; which model; where the result goes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--memories", type=int, default=memories)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def open_engine(arguments: argparse.Namespace) -> Engine:
    """The engine that was asked for; where it cannot be opened, one sentence and exit code 2."""
    try:
        return load_engine(load_settings(model=arguments.model).model, arguments.device)
    except EXPECTED as error:
        print(f"Nothing can be measured: {error}", file=sys.stderr)
        sys.exit(2)
