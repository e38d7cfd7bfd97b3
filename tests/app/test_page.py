"""The page as a browser meets it: served, private, offline, and answering over HTTP."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from storage.store import Store
from tests.tiny import tiny_folder

ROOT = Path(__file__).resolve().parents[2]


def call(page: gr.Blocks, handler: str, data: list[Any], session: str) -> list[Any]:
    """Do what the page in a browser does for an event; return all that it was told to show."""
    fn = next(fn for fn in page.fns.values() if fn.name == handler)
    shown: list[Any] = []
    with httpx.Client(base_url=page.local_url.rstrip("/") + "/gradio_api", timeout=20) as http:
        ask = {"data": data, "fn_index": fn._id, "session_hash": session}
        http.post(
            "/queue/join", content=json.dumps(ask), headers={"Content-Type": "application/json"}
        ).raise_for_status()
        with http.stream("GET", "/queue/data", params={"session_hash": session}) as events:
            for line in events.iter_lines():
                event = json.loads(line[5:]) if line.startswith("data:") else {}
                shown.append(event.get("output", {}).get("data"))
                if event.get("msg") == "process_completed":
                    assert event["success"], event
                    return shown
    raise AssertionError("the page did not answer")


def test_a_page_answers_over_http_and_the_turn_is_remembered(page: gr.Blocks, store: Store) -> None:
    call(page, "enter", [None, 1, "Ada", "", ""], "tab")
    call(page, "send", [None, 2, None, None, "I am Ada", "", 1, "", 0], "tab")
    call(page, "start_anew", [None, 3, None, ""], "tab")
    shown = call(page, "send", [None, 4, None, None, "Who am I?", "", 1, "", 0], "tab")
    ada = store.find_user("Ada")
    assert ada is not None
    assert [turn.reply_text for turn in store.held_turns(ada.id)] == ["I know nothing.", "I know ada."]
    assert "2 turns in the weights" in json.dumps(shown)


def test_two_tabs_with_two_names_never_mix(page: gr.Blocks, store: Store) -> None:
    for tab, name, word in (("tab-a", "Ada", "vienna"), ("tab-b", "Bob", "oslo")):
        call(page, "enter", [None, 1, name, "", ""], tab)
        call(page, "send", [None, 2, None, None, word, "", 1, "", 0], tab)
    for tab in ("tab-a", "tab-b"):
        call(page, "start_anew", [None, 3, None, ""], tab)
        call(page, "send", [None, 4, None, None, "What do you know?", "", 1, "", 0], tab)
    people = [store.find_user(name) for name in ("Ada", "Bob")]
    assert [store.held_turns(user.id)[-1].reply_text for user in people if user] == ["I know vienna.", "I know oslo."]


def test_a_name_sent_in_place_of_the_session_is_not_believed(page: gr.Blocks, store: Store) -> None:
    call(page, "enter", [None, 1, "Ada", "", ""], "tab-a")
    shown = call(page, "send", [None, 1, {"id": 1, "name": "Ada"}, None, "I am not Ada", "", 1, "", 0], "tab-b")
    assert "Nobody is named yet" in json.dumps(shown)
    assert not store.unfolded_turns()


def test_half_a_character_over_http_is_one_sentence_and_stores_nothing(page: gr.Blocks, store: Store) -> None:
    call(page, "enter", [None, 1, "Ada", "", ""], "tab")
    assert "half of a pair" in json.dumps(call(page, "send", [None, 2, None, None, "half \ud800", "", 1, "", 0], "tab"))
    assert not store.unfolded_turns()


def test_no_event_is_public_but_the_chat_for_programs(page: gr.Blocks) -> None:
    assert [fn.name for fn in page.fns.values() if fn.api_visibility != "private"] == ["chat"]  # which takes a key


def test_no_message_and_no_leaving_is_dropped_by_the_page_itself(page: gr.Blocks) -> None:
    numbered = {"send", "send_example", "enter", "start_anew", "start_temporarily", "open_conversation", "forget"}
    modes = {fn.name: fn.trigger_mode for fn in page.fns.values() if fn.name in numbered}
    assert modes == dict.fromkeys(numbered, "multiple")


def test_runs_and_monitoring_are_off(page: gr.Blocks) -> None:
    for path in ("/gradio_api/runs", "/monitoring/summary", "/gradio_api/monitoring/summary"):
        assert httpx.get(page.local_url.rstrip("/") + path).status_code in (403, 404)


OFFLINE = """
import socket, sys, threading, time
away, connect, lookup = [], socket.socket.connect, socket.getaddrinfo
HOME = ("127.0.0.1", "::1", "localhost", None)
def watched(self, address):
    if isinstance(address, tuple) and address[0] not in HOME: away.append(address)
    return connect(self, address)
def asked(host, *rest, **more):
    if host not in HOME: away.append(host)
    return lookup(host, *rest, **more)
socket.socket.connect, socket.getaddrinfo = watched, asked
import launch
from app import bootstrap
import os, signal
def loaded(service):
    print("LOADED", service.model_name)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGTERM)
bootstrap._recover = loaded
sys.argv = ["launch.py", "--port", sys.argv[1], "--model", sys.argv[2], "--database", sys.argv[3]]
try: launch.main()
finally: print("AWAY", away)
"""


def test_a_start_connects_to_nothing_outside(tmp_path: Path) -> None:
    where = ["17861", str(tiny_folder(tmp_path / "tiny")), f"sqlite:///{tmp_path}/x.db"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "HF_"))}
    ran = subprocess.run(
        [sys.executable, "-c", OFFLINE, *where], cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60
    )
    assert "Imprint is at http://127.0.0.1:17861" in ran.stdout, ran.stderr
    assert "LOADED tiny" in ran.stdout
    assert "AWAY []" in ran.stdout
    assert ran.returncode == 0


HELD = {"inference_mode", "no_grad", "autocast", "adapted", "read", "write", "begin", "Session", "translated"}


def yields_in_held_context(tree: ast.AST) -> list[int]:
    """Lines of a `yield` inside a `with` of torch or the database; a context manager's own yield is what it is for."""
    lines = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or "contextmanager" in map(ast.unparse, function.decorator_list):
            continue
        for block in (node for node in ast.walk(function) if isinstance(node, ast.With)):
            calls = [node.func for item in block.items for node in ast.walk(item) if isinstance(node, ast.Call)]
            if HELD & {ast.unparse(call).rpartition(".")[2] for call in calls}:
                lines += [node.lineno for node in ast.walk(block) if isinstance(node, ast.Yield | ast.YieldFrom)]
    return lines


def test_the_check_for_yields_sees_one() -> None:
    assert yields_in_held_context(ast.parse("def f():\n with torch.no_grad():\n  yield 1")) == [3]


@pytest.mark.parametrize("package", ["app", "core", "storage"])
def test_no_yield_stands_inside_a_torch_or_database_context(package: str) -> None:
    sources = {path.name: ast.parse(path.read_text()) for path in (ROOT / package).rglob("*.py")}
    assert sources
    assert {name: found for name, tree in sources.items() if (found := yields_in_held_context(tree))} == {}


def test_the_page_needs_no_torch() -> None:
    check = (
        "import app.cli, app.ui, app.bootstrap, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, timeout=60).returncode == 0
