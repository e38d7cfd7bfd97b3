"""kill -9 in the middle of commits: every turn that was acknowledged is there, whole, and no fold is half done."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from storage.database import file_url, open_database
from storage.store import Store

KILLS = 10
WRITER = """
import sys
from storage.database import open_database
from storage.records import Folding, Packed
from storage.store import Store

store = Store(open_database(sys.argv[1]))
user = store.ensure_user("Ada")
talk = store.start_conversation(user.id)
memory = store.load_memory(user.id)
version = memory.version if memory else 0
while True:
    turn = store.append_turn(user.id, talk.id, "text " * 50)
    print("turn", turn.id, flush=True)
    packed, folding = Packed(b"%d" % turn.id * 5000, "f00d", 1), Folding(0.1, 9, "l1nk")
    version = store.commit_fold(turn.id, user.id, version, packed, folding).version
    print("fold", turn.id, flush=True)
"""


def write_until_killed(url: str, seconds: float) -> list[list[str]]:
    """Return what the writer had acknowledged, a line each; a line cut short by the kill does not count."""
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()
        rest = writer.stdout.read()
    return [line.split() for line in (first + rest).splitlines(keepends=True) if line.endswith("\n")]


def test_every_acknowledged_turn_and_fold_outlives_ten_kills(path: Path) -> None:
    url, numbers = file_url(path), random.Random(0)
    said = [line for _ in range(KILLS) for line in write_until_killed(url, numbers.uniform(0.0, 0.1))]
    database = open_database(url)
    store = Store(database)
    user = store.ensure_user("Ada")
    held = {turn.id for turn in store.held_turns(user.id)}
    kept = held | {turn.id for turn in store.unfolded_turns(user.id)}
    memory = store.load_memory(user.id)
    database.close()
    assert {int(number) for kind, number in said if kind == "turn"} <= kept
    assert {int(number) for kind, number in said if kind == "fold"} <= held
    assert memory is not None
    assert memory.header.turns_folded == memory.version == len(held)
    assert memory.blob == b"%d" % max(held) * 5000
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
