"""A Space that is lent GPUs (ZeroGPU), with Hugging Face's own package and a lender that follows its protocol.

Only the GPU itself is missing: in the process that a loan forks, the CPU stands in for it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlparse

import httpx
import pytest
import torch

from app.accounts import Accounts
from app.ledger import messages_of
from app.settings import HOME
from core.chat import Message
from core.decoding import Sampling
from core.engine import load_engine
from core.origin import Origin
from core.state import State
from storage.database import file_url, open_database
from storage.store import Store
from tests.tiny import tiny_folder

SPACE = """
import torch
if not torch.version.cuda:  # the package expects what only a build for GPUs has
    torch.version.cuda, torch._C._cuda_init, torch.cuda._is_in_bad_fork = "13.0", None, bool
import spaces
from spaces.zero import torch as lent
from spaces.zero.torch import patching

def move(callback=None):
    for stand_in, weights in patching.cuda_aliases.items():
        stand_in.data = weights

lent.pack, lent.init, lent.move = (lambda: 0), (lambda uuid: None), move
import launch
launch.main()
"""


class Lender(BaseHTTPRequestHandler):
    """Answers as the machine of a Space does; everything asked is kept in `server.asked`."""

    refuses = False

    def do_POST(self) -> None:
        asked = urlparse(self.path)
        self.server.asked.append((asked.path, parse_qs(asked.query)))  # type: ignore[attr-defined]
        status, answer = 200, dict[str, object]()
        if asked.path == "/schedule":
            status = 429 if Lender.refuses else 200
            loan = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}
            answer = {"left": 0, "wait": 3600} if Lender.refuses else loan
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def lender() -> Iterator[ThreadingHTTPServer]:
    Lender.refuses = False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Lender)
    server.asked = []  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "tiny")


@contextmanager
def space(tmp_path: Path, model: Path, lender: ThreadingHTTPServer, **settings: str) -> Iterator[httpx.Client]:
    """Start launch.py as such a Space does; a client that speaks for Ada."""
    url, port = file_url(tmp_path / "imprint.db"), "17871"
    database = open_database(url)
    store = Store(database)
    key = Accounts(store, required=False).issue_key(store.ensure_user("Ada").id, "test")
    database.close()
    (tmp_path / "cgroup").write_text("0::/space\n")
    environment = os.environ | settings | {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{lender.server_port}",
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(tmp_path / "cgroup"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", SPACE, "--port", port, "--model", str(model), "--database", url]
    process = subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and any("Imprint is at" in line for line in process.stdout)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", headers=headers, timeout=60) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        print(process.communicate(timeout=60)[0])


def said(client: httpx.Client, text: str) -> httpx.Response:
    messages = [{"role": "user", "content": text}]
    return client.post("/chat/completions", json={"model": "tiny", "messages": messages, "max_tokens": 8})


def paths(lender: ThreadingHTTPServer) -> list[str]:
    return [path for path, _ in lender.asked]  # type: ignore[attr-defined]


def test_replies_and_folds_are_computed_where_the_gpu_is(
    tmp_path: Path, model: Path, lender: ThreadingHTTPServer
) -> None:
    with space(tmp_path, model, lender, IMPRINT_DEVICE="cuda", IMPRINT_DTYPE="float32") as client:
        first = said(client, "I live in Vienna.").raise_for_status().json()["choices"][0]["message"]["content"]
        said(client, "Where do I live?").raise_for_status()
        assert client.get("/memory").json()
    assert paths(lender)[0] == "/startup-report"
    assert paths(lender).count("/schedule") == paths(lender).count("/release") >= 4
    database = open_database(file_url(tmp_path / "imprint.db"))
    store = Store(database)
    turns = store.held_turns(1)
    memory = store.load_memory(1)
    database.close()
    here = load_engine(Origin(str(model), None, None))
    asked = [Message("user", "I live in Vienna.")]
    assert first == "".join(here.reply(None, asked, Sampling(max_tokens=8))).strip()
    state = here.empty_state()
    for turn in turns:
        state = here.fold(state, messages_of(turn))
    assert memory and len(turns) == 2
    torch.testing.assert_close(State.from_bytes(memory.blob).sums, state.sums)


def test_without_a_loan_the_message_is_kept_and_one_sentence_says_why(
    tmp_path: Path, model: Path, lender: ThreadingHTTPServer
) -> None:
    with space(tmp_path, model, lender, IMPRINT_DEVICE="cuda", IMPRINT_DTYPE="float32") as client:
        Lender.refuses = True
        refused = said(client, "I live in Vienna.")
        Lender.refuses = False
        assert refused.status_code == 503
        assert refused.json()["error"]["message"].startswith("No GPU could be borrowed, or it failed: ")


def test_a_small_model_borrows_nothing_but_the_space_starts(
    tmp_path: Path, model: Path, lender: ThreadingHTTPServer
) -> None:
    with space(tmp_path, model, lender) as client:
        said(client, "I live in Vienna.").raise_for_status()
    assert paths(lender) == ["/startup-report"]
