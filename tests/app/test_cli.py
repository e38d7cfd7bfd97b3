"""The command line: a chat in a terminal, and one sentence without a traceback for whatever is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.answers import UNCHANGED
from storage.database import file_url, open_database
from storage.store import Store
from tests.app.commands import ROOT, launch, one_sentence
from tests.tiny import tiny_folder

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


def test_a_terminal_chat_remembers_across_conversations(tmp_path: Path, url: str) -> None:
    flags = ("chat", "--user", "Ada", "--model", tmp_path, "--database", url)
    code, out, _ = launch(*flags, lines=b"I am Ada\n/new\nWho am I?\n")
    assert code == 0
    assert "I know ada." in out
    assert "2 turns in the weights" in out


def test_a_temporary_terminal_chat_leaves_nothing(tmp_path: Path, url: str) -> None:
    where = ("--user", "Ada", "--model", tmp_path, "--database", url)
    launch("chat", *where, lines=b"I am Ada\n")
    code, out, _ = launch("chat", "--temporary", *where, lines=b"I drink tea\n/new\nWho am I?\n")
    assert code == 0
    assert out.count("I know ada.") == 2 and "not remembered" in out
    _, out, _ = launch("chat", "--strength", "0", *where, lines=b"Who am I?\n")
    assert "I know nothing." in out and "2 turns in the weights" in out


def test_bytes_that_are_not_text_are_refused_and_the_chat_goes_on(tmp_path: Path, url: str) -> None:
    flags = ("chat", "--user", "Ada", "--model", tmp_path, "--database", url)
    code, out, err = launch(*flags, lines=b"te\xffa\n\nI am Ada\n")
    assert code == 0
    assert "not UTF-8" in err and "empty" in err
    assert "1 turn in the weights" in out


def test_a_chat_leaves_the_turns_of_others_alone(tmp_path: Path, url: str) -> None:
    database = open_database(url)
    store = Store(database)
    ada = store.ensure_user("Ada")
    waiting = store.append_turn(ada.id, store.start_conversation(ada.id).id, "I am Ada")
    store.answer_turn(ada.id, waiting.id, "Hello.")
    assert launch("chat", "--user", "Bob", "--model", tmp_path, "--database", url, lines=b"I am Bob\n")[0] == 0
    assert [turn.id for turn in store.unfolded_turns()] == [waiting.id]
    database.close()


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
    code, _, err = launch("--port", "17862", "--model", tmp_path, "--database", url, fingerprint=None)
    assert (code, one_sentence(err)) == (1, True), err
    assert "has no folder base/" in err


def test_a_memory_is_exported_as_a_lora(tmp_path: Path, url: str) -> None:
    where = ("--user", "Ada", "--model", str(tiny_folder(tmp_path / "tiny")), "--database", url)
    code, _, err = launch("chat", *where, lines=b"I am Ada\n", fingerprint=None)
    assert code == 0 and "of weights in float32" in err  # said before they are loaded
    folder = tmp_path / "lora"
    _, out, _ = launch("memory", "export", *where, folder, "--format", "peft", "--rank", "4", fingerprint=None)
    assert out.startswith(f"Wrote {folder}, for the base. It holds what Ada said. Relative error"), out
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 4
    for flags in (("--rank", "4"), ("--format", "peft", "--no-texts")):
        code, _, err = launch("memory", "export", *where, tmp_path / "none", *flags, fingerprint=None)
        assert (code, one_sentence(err)) == (2, True)
    assert not (tmp_path / "none").exists()


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


ENDED_EARLY = """
import atexit, os, signal, sys
from contextlib import contextmanager
import launch
from app import bootstrap
@contextmanager
def page(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    yield "a page that nobody waits for"
bootstrap._page = page
atexit.register(print, "tidied")
sys.argv = ["launch.py", *sys.argv[1:]]
launch.run_and_end()
"""


def test_a_server_that_is_ended_while_it_starts_only_tidies_up(tmp_path: Path, url: str) -> None:
    flags = ["--port", "17865", "--model", str(tiny_folder(tmp_path / "tiny")), "--database", url]
    command = [sys.executable, "-c", ENDED_EARLY, *flags]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "tidied\n", "")


SERVED = """
import ctypes, os, signal, sys, threading, time
from contextlib import contextmanager
import launch
from app import bootstrap, ending
STUCK = {"nowhere": lambda _: None, "asleep": time.sleep, "with the lock": ctypes.PyDLL(None).sleep}["WHERE"]
def deep(calls): return deep(calls - 1) if calls else 0
def busy():
    while True: deep(400)
@contextmanager
def page(*_):
    def end(many):
        for _ in range(many): os.kill(os.getpid(), signal.SIGTERM), os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.5, end, [MANY]).start()
    yield "a page"
    end(MANY)
    if "WHERE" == "asleep":  # stacks that grow and shrink while they are shown
        for _ in range(2): threading.Thread(target=busy, daemon=True).start()
    STUCK(600)
bootstrap._page, ending.LONGEST, ending.SPARE = page, 90.0 if "WHERE" == "nowhere" else 1.0, 1.0
sys.argv = ["launch.py", *sys.argv[1:]]
launch.run_and_end()
"""


@pytest.mark.parametrize(("many", "where", "code"), [(200, "nowhere", 0), (1, "asleep", 1), (1, "with the lock", 1)])
def test_a_server_ends_however_often_it_is_told_to_and_whatever_is_stuck(
    tmp_path: Path, url: str, many: int, where: str, code: int
) -> None:
    script = SERVED.replace("MANY", str(many)).replace("WHERE", where)
    flags = ["--port", "17866", "--model", str(tiny_folder(tmp_path / "tiny")), "--database", url]
    command = [sys.executable, "-c", script, *flags]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == code
    assert ("in page" in ran.stderr) is (where != "nowhere")  # where it was stuck


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


@pytest.fixture
def where(tmp_path: Path, url: str) -> tuple[str | Path, ...]:
    """Flags of Ada's memory of two turns."""
    flags = ("--user", "Ada", "--model", tmp_path, "--database", url)
    launch("chat", *flags, lines=b"I am Ada\n/new\nWho am I?\n")
    return flags


def test_the_ledger_is_listed_searched_and_given_as_json(where: tuple[str | Path, ...]) -> None:
    listed = launch("memory", "list", *where)[1].splitlines()
    assert ["I am Ada" in listed[0], "Who am I?" in listed[1]] == [True, True]
    assert launch("memory", "list", *where, "--search", "WHO")[1].splitlines() == listed[1:]
    turns = json.loads(launch("memory", "list", *where, "--json")[1])
    assert [(turn["user_text"], turn["position"]) for turn in turns] == [("I am Ada", 1), ("Who am I?", 2)]


def test_a_turn_is_shown_with_what_its_reply_came_from(where: tuple[str | Path, ...]) -> None:
    code, out, _ = launch("memory", "show", *where, "2")
    assert code == 0
    assert "> I know ada." in out
    assert "1.00  turn 1: I am Ada" in out
    assert "(norm): 0.0, 0.0" in out


def test_a_turn_is_forgotten_with_a_receipt_and_the_rest_is_clean(where: tuple[str | Path, ...]) -> None:
    code, out, _ = launch("memory", "forget", *where, "--turn", "1")
    assert (code, out.count("Receipt")) == (0, 1)
    assert "1 turn and 1 conversation" in out
    assert launch("memory", "receipts", *where)[1] == out
    assert launch("memory", "verify", *where)[:2] == (
        0, "Clean: 1 turn replayed, and the state is the stored one bit for bit.\n",
    )  # fmt: skip
    assert "I know nothing." in launch("chat", *where, lines=b"Who am I?\n")[1]


def test_a_stretch_of_time_is_forgotten(where: tuple[str | Path, ...]) -> None:
    assert "0 turns" in launch("memory", "forget", *where, "--until", "2001-01-01")[1]
    assert "2 turns" in launch("memory", "forget", *where, "--since", "2001-01-01")[1]
    assert json.loads(launch("memory", "stats", *where, "--json")[1])["turns"] == 0


def test_a_memory_that_was_meddled_with_is_not_clean(where: tuple[str | Path, ...], tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "imprint.db") as connection:
        connection.execute("UPDATE turns SET user_text = 'I am Bob' WHERE id = 1")
    code, out, err = launch("memory", "verify", *where)
    assert (code, err) == (1, "")
    assert "chain at turn 1" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["forget"], 2, "Say what to forget"),
        (["forget", "--turn", "1", "--everything"], 2, "Say what to forget"),
        (["forget", "--turn", "99"], 1, "no turn 99"),
        (["show", "99"], 1, "no turn 99"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    where: tuple[str | Path, ...], arguments: list[str], code: int, said: str
) -> None:
    ended, _, err = launch("memory", arguments[0], *where, *arguments[1:])
    assert (ended, one_sentence(err)) == (code, True)
    assert said in err
    assert len(launch("memory", "list", *where)[1].splitlines()) == 2


def test_an_operator_sees_sizes_and_deletes_a_name(where: tuple[str | Path, ...]) -> None:
    nameless = where[2:]
    listed = launch("people", *nameless)[1]
    assert "2 turns" in listed and "  name  " in listed and listed.endswith("Ada\n")
    (person,) = json.loads(launch("people", *nameless, "--json")[1])
    assert (person["user"]["name"], person["turns"]) == ("Ada", 2)
    assert launch("delete", *where, lines=b"n\n")[0] == 1
    assert len(launch("memory", "list", *where)[1].splitlines()) == 2
    assert launch("delete", *where, "--yes")[:2] == (0, "Nothing is kept of Ada any more.\n")
    assert launch("people", *nameless)[1] == ""
    code, _, err = launch("memory", "list", *where)
    assert (code, one_sentence(err)) == (1, True)


def test_a_file_is_checked_without_a_database(where: tuple[str | Path, ...], tmp_path: Path) -> None:
    launch("memory", "forget", *where, "--turn", "1")
    file = tmp_path / "ada.imprint"
    for flags, said in (((), "1 turn replayed"), (("--no-texts",), "1 turn without texts")):
        launch("memory", "export", *where, file, *flags)
        nowhere = ("--model", tmp_path, "--database", f"sqlite:///{tmp_path / 'none' / 'x.db'}")
        code, out, _ = launch(*nowhere, "memory", "check", file)
        assert (code, said in out, "holds after 1 turn" in out) == (0, True, True)
    assert not (tmp_path / "none").exists()
    file.write_bytes(file.read_bytes()[:-30])
    code, _, err = launch("--model", tmp_path, "memory", "check", file)
    assert (code, one_sentence(err)) == (1, True)


def test_a_memory_is_exported_and_taken_in_under_another_name(
    where: tuple[str | Path, ...], tmp_path: Path, url: str
) -> None:
    file, flags = tmp_path / "ada.imprint", ("--model", tmp_path, "--database", url)
    assert launch("memory", "export", *where, file)[0] == 0
    assert launch("memory", "import", "--user", "Bob", *flags, file)[:2] == (0, "Took in 2 turns for Bob.\n")
    assert "I know ada." in launch("chat", "--user", "Bob", *flags, lines=b"Who am I?\n")[1]
    code, _, err = launch("memory", "import", "--user", "Bob", *flags, file)
    assert (code, one_sentence(err), "merge the two" in err) == (1, True, True)
    assert launch("memory", "import", "--user", "Bob", "--merge", *flags, file)[:2] == (0, "Took in 0 turns for Bob.\n")
    (tmp_path / "nothing").write_bytes(b"nothing")
    for odd in ("nowhere", "nothing"):
        code, _, err = launch("memory", "import", "--user", "Cid", *flags, tmp_path / odd)
        assert (code, one_sentence(err)) == (1, True)
    assert "Cid" not in launch("people", *flags)[1]


def test_a_turn_is_pinned_and_corrected(where: tuple[str | Path, ...]) -> None:
    assert launch("memory", "pin", *where, 1)[:2] == (0, "Turn 1 does not fade any more.\n")
    assert [turn["pinned"] for turn in json.loads(launch("memory", "list", *where, "--json")[1])] == [True, False]
    (pinned,) = launch("memory", "list", *where, "--pinned")[1].splitlines()
    assert "[pinned]" in pinned and pinned in launch("memory", "list", *where, "--search", "[pinned]")[1]
    assert launch("memory", "list", *where, "--superseded")[:2] == (0, "")
    assert launch("memory", "pin", *where, 1, "--undo")[:2] == (0, "Turn 1 fades again.\n")
    code, out, _ = launch("memory", "correct", *where, 1, "I am Bob")
    assert (code, "forgot 1 turn and 0 conversations" in out) == (0, True)
    assert "I am Bob" in launch("memory", "list", *where)[1]
    assert launch("memory", "verify", *where)[0] == 0
    assert launch("memory", "since", *where, 2)[:2] == (0, f"{UNCHANGED}\n")
