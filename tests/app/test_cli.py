"""The command line: a chat in a terminal, and one sentence without a traceback for whatever is wrong."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.database import file_url, open_database
from storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
FAKE = """
import sys, launch
from app import bootstrap
fingerprint = sys.argv.pop(1)
def load(loading, *_):
    from tests.fakes import FakeEngine
    loading.set_result(FakeEngine(fingerprint=fingerprint, pace=0.02))
bootstrap._load = load
launch.main()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return file_url(tmp_path / "imprint.db")


def launch(*arguments: str | Path, lines: bytes = b"", fingerprint: str = "fa4e" * 16) -> tuple[int, str, str]:
    """Run launch.py over a fake engine; return exit code, stdout and stderr."""
    command = [sys.executable, "-c", FAKE, fingerprint, *map(str, arguments)]
    ran = subprocess.run(command, cwd=ROOT, input=lines, capture_output=True, timeout=60)
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def one_sentence(stderr: str) -> bool:
    return "Traceback" not in stderr and len(stderr.strip().splitlines()) == 1


def test_a_terminal_chat_remembers_across_conversations(tmp_path: Path, url: str) -> None:
    flags = ("chat", "--user", "Ada", "--model", tmp_path, "--database", url)
    code, out, _ = launch(*flags, lines=b"I am Ada\n/new\nWho am I?\n")
    assert code == 0
    assert "I know ada." in out
    assert "2 turns in the weights" in out


def test_bytes_that_are_not_text_are_refused_and_the_chat_goes_on(tmp_path: Path, url: str) -> None:
    flags = ("chat", "--user", "Ada", "--model", tmp_path, "--database", url)
    code, out, err = launch(*flags, lines=b"te\xffa\n\nI am Ada\n")
    assert code == 0
    assert "not UTF-8" in err and "empty" in err
    assert "1 turn in the weights" in out


def test_a_rebuild_makes_a_memory_usable_by_another_model(tmp_path: Path, url: str) -> None:
    where = ("--user", "Ada", "--model", tmp_path, "--database", url)
    launch("chat", *where, lines=b"I am Ada\n")
    assert "Folded 1 turns of Ada anew." in launch("rebuild", *where, fingerprint="0ther" * 12)[1]
    assert "I know ada." in launch("chat", *where, lines=b"Who am I?\n", fingerprint="0ther" * 12)[1]


def test_rebuilding_for_nobody_is_one_sentence(tmp_path: Path, url: str) -> None:
    code, _, err = launch("rebuild", "--user", "Nobody", "--model", tmp_path, "--database", url)
    assert (code, one_sentence(err)) == (1, True)
    assert "'Nobody'" in err


def test_a_missing_model_folder_is_one_sentence(tmp_path: Path, url: str) -> None:
    code, _, err = launch("--model", tmp_path / "nowhere", "--database", url)
    assert (code, one_sentence(err)) == (2, True)


def test_a_folder_without_a_model_ends_the_server_with_one_sentence(tmp_path: Path, url: str) -> None:
    command = [sys.executable, "launch.py", "--port", "17862", "--model", str(tmp_path), "--database", url]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, one_sentence(ran.stderr)) == (1, True), ran.stderr


def test_a_port_in_use_is_one_sentence(tmp_path: Path, url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = launch("--port", port, "--model", tmp_path, "--database", url)
    assert (code, one_sentence(err)) == (1, True)
    assert port in err


def test_a_database_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database at all, but a text of some length" * 50)
    code, _, err = launch("--port", "17863", "--model", tmp_path, "--database", file_url(tmp_path / "x.db"))
    assert (code, one_sentence(err)) == (1, True)
    assert "x.db" in err


def test_a_terminated_server_leaves_every_turn_folded(tmp_path: Path, url: str) -> None:
    flags = ["chat", "--user", "Ada", "--model", str(tmp_path), "--database", url]
    process = subprocess.Popen(
        [sys.executable, "-c", FAKE.replace("0.02", "0.5"), "fa4e" * 16, *flags],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ,
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(b"I am Ada\n")
    process.stdin.flush()
    wait_for_turn(tmp_path / "imprint.db")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    database = open_database(url)
    assert Store(database).unfolded_turns() == []
    database.close()


def wait_for_turn(path: Path) -> None:
    """Return once a turn is stored."""
    for _ in range(400):
        time.sleep(0.05)
        try:
            with sqlite3.connect(path) as connection:
                if connection.execute("SELECT count(*) FROM turns").fetchone()[0]:
                    return
        except sqlite3.OperationalError:
            continue
    raise AssertionError("no turn was stored")
