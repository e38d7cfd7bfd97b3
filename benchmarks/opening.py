"""The command lines of the benchmarks that make memories of their own, and the engine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.errors import EXPECTED
from app.settings import Settings, load_settings
from benchmarks.report import finish
from core.device import Choice
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


def measured_people(
    description: str | None,
    users: int,
    run: Callable[[Settings, int, int], dict[str, Any]],
    is_kept: Callable[[dict[str, Any]], bool],
) -> int:
    """The command of a benchmark of people who use the whole service: a table and a JSON line.

    The exit code is 1 if what is promised is not kept, 2 if nothing can be measured.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--users", type=int, default=users)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    try:
        result = run(load_settings(model=arguments.model), arguments.users, arguments.seed)
    except EXPECTED as error:
        print(f"Nothing can be measured: {error}", file=sys.stderr)
        return 2
    for name, value in result.items():
        print(f"{name:36}{value}")
    finish(result, arguments.json)
    return 0 if is_kept(result) else 1


def open_engine(arguments: argparse.Namespace) -> Engine:
    """The engine that was asked for; where it cannot be opened, one sentence and exit code 2."""
    try:
        return load_engine(load_settings(model=arguments.model).origin, Choice(arguments.device))
    except EXPECTED as error:
        print(f"Nothing can be measured: {error}", file=sys.stderr)
        sys.exit(2)
