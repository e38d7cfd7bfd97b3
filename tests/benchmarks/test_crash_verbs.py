"""Killing verbs and migrations: what is expected after each; a run finds what is broken, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import postgres
from benchmarks.crash_verbs import KINDS, after
from tests.tiny import tiny_folder

HOME = Path(__file__).parent.parent.parent
RUN = "import sys; from benchmarks.crash_verbs import main; sys.exit(main())"
BROKEN_VERB = """
from storage.store import Store

append = Store.append_turn
Store.append_turn = lambda self, user_id, talk, text: append(self, user_id, talk, text + "!")
"""
BROKEN_MIGRATION = """
from storage.schema import command

upgrade = command.upgrade
LOSE = "DELETE FROM turns WHERE id = (SELECT max(id) FROM turns)"

def losing(config, revision):
    upgrade(config, revision)
    config.attributes["connection"].exec_driver_sql(LOSE)

command.upgrade = losing
"""
BROKEN = ("sqlite", BROKEN_VERB), ("sqlite", BROKEN_MIGRATION)

AFTER = [
    ({"verb": "send", "text": "b"}, {"a": True, "b": False}),
    ({"verb": "retry", "text": "a"}, {"a": True}),
    ({"verb": "forget", "texts": ["a"]}, {}),
    ({"verb": "take back", "texts": ["a"]}, {}),
    ({"verb": "pin", "text": "a", "pinned": False}, {"a": False}),
    ({"verb": "correct", "text": "a", "new": "c"}, {"c": True}),
    ({"verb": "merge", "texts": ["a", "d"]}, {"a": True, "d": False}),
    ({"verb": "import", "texts": ["a"]}, {"a": True, "Carol: a": False}),
]


@pytest.mark.parametrize(("verb", "held"), AFTER, ids=lambda value: value.get("verb", ""))
def test_what_is_held_after_a_verb(verb: dict[str, object], held: dict[str, bool]) -> None:
    before = {"a": True}
    assert after(before, verb) == held
    assert before == {"a": True}


@pytest.mark.slow
@pytest.mark.parametrize(("on", "broken"), [*((kind, "") for kind in KINDS), *BROKEN])
def test_kills_leave_nothing_half_done_and_what_is_broken_is_found(tmp_path: Path, on: str, broken: str) -> None:
    if on == "postgresql" and not postgres.find_binaries():
        pytest.skip(f"no PostgreSQL server in {postgres.DEBIAN}")
    flags = ["--kills", "6", "--on", on, "--model", str(tiny_folder(tmp_path / "model"))]
    command = [sys.executable, "-c", f"{broken}\n{RUN}", *flags, "--json", str(tmp_path / "found.json")]
    ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    found = json.loads((tmp_path / "found.json").read_text())
    assert ended.returncode == bool(broken), ended.stderr
    assert (bool(found["wrong"]), found["unclean"]) == (bool(broken), 0)
    assert set(found["verbs"]) - {"migrate"}  # which needs no engine
