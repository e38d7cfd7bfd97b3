"""Replies by another server: they are those that this process would write, and what is gone here is gone there."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.adapter import Adapter
from core.chat import Message
from core.checkpoint import load_checkpoint
from core.decoding import Sampling
from core.device import Choice, resolve
from core.engine import Engine
from core.errors import ServerError
from core.origin import Origin
from core.served import ServedEngine, Server, check_server
from tests.core.lora_server import LoraServer, serving
from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer

ASK = [Message("user", "Who am I?")]
SHORT = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(params=["vllm", "sglang"])
def there(request: pytest.FixtureRequest, folder: Path) -> LoraServer:
    return LoraServer(folder / "base", request.param)


@pytest.fixture
def server(there: LoraServer, tmp_path: Path) -> Iterator[Server]:
    with serving(there) as url:
        yield Server(url, "vllm" if there.kind == "vllm" else "sglang", tmp_path / "loras", loras=2)


def opened(folder: Path, server: Server | None = None) -> Engine:
    checkpoint = load_checkpoint(Origin(str(folder)), resolve(Choice("cpu")))
    return ServedEngine(checkpoint, server) if server else Engine(checkpoint)


def told(engine: Engine, text: str) -> Adapter:
    return engine.materialise(engine.fold(engine.empty_state(), [Message("user", text)]))


def written(engine: Engine, adapter: Adapter | None) -> str:
    return "".join(engine.reply(adapter, ASK, SHORT))


def test_replies_are_those_of_this_process(folder: Path, there: LoraServer, server: Server) -> None:
    here, served = opened(folder), opened(folder, server)
    texts = ["My name is Marta.", "I like sushi very much, with a lot of ginger."]
    adapters = [None, *(told(here, text) for text in texts)]
    expected = [written(here, adapter) for adapter in adapters]
    assert [written(served, adapter) for adapter in adapters] == expected
    assert len(set(expected)) > 1  # the memories are seen in what is written
    assert len(there.ever) == 3  # one of them to see, at the start, whether LoRAs can be there


def test_a_memory_is_there_while_a_reply_is_written_and_no_longer(
    folder: Path, there: LoraServer, server: Server
) -> None:
    engine = opened(folder, server)
    adapter = told(engine, "My name is Marta.")
    writing = iter(engine.reply(adapter, ASK, SHORT))
    next(writing)
    assert there.ever[1:] == list(there.loaded) == loras(server)
    "".join(writing)
    assert not there.loaded and not loras(server)
    written(engine, adapter)
    assert len(set(there.ever)) == 3  # a name is never used again


def loras(server: Server) -> list[str]:
    """Those that lie in the shared folder."""
    return [path.name for path in server.folder.glob("*/imprint-*")]


def test_a_reply_that_is_left_takes_its_memory_away(folder: Path, there: LoraServer, server: Server) -> None:
    engine = opened(folder, server)
    writing = iter(engine.reply(told(engine, "I am Ada."), ASK, SHORT))
    next(writing)
    writing.close()
    assert not there.loaded and not loras(server)


def test_no_more_are_there_at_once_than_the_server_takes(folder: Path, there: LoraServer, server: Server) -> None:
    engine = opened(folder, replace(server, loras=1))
    first, second = told(engine, "I am Ada."), told(engine, "I am Bob.")
    expected = [written(engine, first), written(engine, second)]
    writing = iter(engine.reply(first, ASK, SHORT))
    start, others = next(writing), list[str]()
    waiting = threading.Thread(target=lambda: others.append(written(engine, second)))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive() and len(there.loaded) == 1
    assert start + "".join(writing) == expected[0]
    waiting.join(10)
    assert others == expected[1:]


def test_a_stopped_reply_ends(folder: Path, server: Server) -> None:
    engine, stop = opened(folder, server), threading.Event()
    reply = iter(engine.reply(told(engine, "I am Ada."), ASK, Sampling(max_tokens=64), stop))
    next(reply)
    stop.set()
    assert len("".join(reply)) == 0


def test_no_more_is_asked_for_than_the_context_has_room_for(folder: Path, there: LoraServer, server: Server) -> None:
    engine = opened(folder, server)
    next(iter(engine.reply(None, ASK, Sampling(max_tokens=100_000))))
    asked = there.asked[-1]
    assert asked["max_tokens"] == engine.base.context_length - len(asked["prompt"])


def test_a_rank_beyond_the_servers_is_refused_at_the_start_or_cut(
    folder: Path, there: LoraServer, server: Server
) -> None:
    there.rank = 4
    refused = r"rank 16 \(.*max_lora_rank 4.*--max-lora-rank 16 or more.*IMPRINT_SERVER_RANK"
    with pytest.raises(ServerError, match=refused):
        opened(folder, server)
    assert not loras(server) and not there.ever
    engine = opened(folder, replace(server, rank=4))
    assert written(engine, told(engine, "My name is Marta."))


@pytest.mark.parametrize("lacking", ["load_lora_adapter", "unload_lora_adapter"])
def test_a_server_whose_loras_do_not_come_and_go_is_refused_at_the_start(
    lacking: str, folder: Path, there: LoraServer, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    routes = there.app.router.routes
    routes[:] = [route for route in routes if route.path.removeprefix("/v1").strip("/") != lacking]
    needed = "RUNTIME_LORA_UPDATING=True, --enable-lora" if there.kind == "vllm" else "--lora-target-modules o_proj"
    with pytest.raises(ServerError, match=rf"{lacking} refuses with 404.*{needed}.*IMPRINT_SERVER_KIND") as refused:
        opened(folder, server)
    assert "\n" not in str(refused.value) and not caplog.records and not loras(server)


def test_a_server_of_the_other_kind_is_refused_at_the_start(folder: Path, there: LoraServer, server: Server) -> None:
    with pytest.raises(ServerError, match="IMPRINT_SERVER_KIND to what it is"):
        opened(folder, replace(server, kind="sglang" if there.kind == "vllm" else "vllm"))


@pytest.mark.parametrize("ending", ["/v1", "/v1/", "/"])
def test_an_address_is_taken_as_other_programs_take_it(ending: str, folder: Path, server: Server) -> None:
    engine = opened(folder, replace(server, url=server.url + ending))
    assert written(engine, told(engine, "My name is Marta."))


LIVE = """
import sys, time
from pathlib import Path
from core.checkpoint import load_checkpoint
from core.device import Choice, resolve
from core.origin import Origin
from core.served import ServedEngine, Server
checkpoint = load_checkpoint(Origin(sys.argv[1]), resolve(Choice("cpu")))
engine = ServedEngine(checkpoint, Server(sys.argv[2], sys.argv[3], Path(sys.argv[4])))
(engine._loras._folder / "imprint-left").mkdir()
print("ready", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_left_is_taken_away_and_what_a_live_one_has_is_not(
    folder: Path, there: LoraServer, server: Server
) -> None:
    there.loaded.add("imprint-left")
    command = [sys.executable, "-c", LIVE, str(folder), server.url, server.kind, str(server.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "ready\n"
        opened(folder, server)
        assert loras(server) == ["imprint-left"] and there.loaded
        other.kill()
    opened(folder, server)
    assert not loras(server) and not there.loaded


def test_a_stop_is_heard_while_the_server_says_nothing(folder: Path, there: LoraServer, server: Server) -> None:
    engine, stop = opened(folder, server), threading.Event()
    there.gate.clear()
    reply = engine.reply(told(engine, "I am Ada."), ASK, SHORT, stop)
    threading.Timer(0.3, stop.set).start()
    assert "".join(reply) == ""
    assert there.asked and there.written == 0 and not there.loaded  # the server is still silent
    there.gate.set()


def test_what_is_no_such_server_is_said(folder: Path, tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9", "http://host:abc"):
        with pytest.raises(ServerError, match="see whether it runs"):
            opened(folder, Server(url, "vllm", tmp_path))


def test_a_folder_that_cannot_be_used_is_said(folder: Path, server: Server) -> None:
    server.folder.write_text("a file")
    for using in (lambda: opened(folder, server), lambda: check_server(server)):
        with pytest.raises(ServerError, match="choose another"):
            using()


def test_folding_does_not_ask_the_server(folder: Path, there: LoraServer, server: Server) -> None:
    here, served = opened(folder), opened(folder, server)
    one, other = (engine.fold(engine.empty_state(), ASK).sums for engine in (here, served))
    assert torch.equal(one, other) and there.written == 0


def test_a_server_that_lists_models_and_completes_nothing_is_said(
    folder: Path, there: LoraServer, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(there, "complete_at_once", lambda _: {})
    with pytest.raises(ServerError, match="did not answer as vLLM or SGLang do"):
        opened(folder, server)


def test_a_server_with_another_base_is_refused(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    other = tiny_model(len(tiny_tokenizer()))
    torch.nn.init.normal_(other.lm_head.weight)
    other.save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    with serving(LoraServer(tmp_path / "other", "vllm")) as url, pytest.raises(ServerError, match="the same base"):
        opened(folder, Server(url, "vllm", tmp_path / "loras"))


def test_a_reply_ends_where_the_bases_config_says_and_nothing_else_of_it_counts(
    folder: Path, there: LoraServer, server: Server
) -> None:
    engine = opened(folder, server)
    written(engine, None)
    asked = there.asked[-1]
    assert asked["stop_token_ids"] == sorted(engine.base.ends | {engine.tokenizer.eos_token_id})
    assert (asked["repetition_penalty"], asked["top_k"], asked["min_p"]) == (1.0, -1, 0.0)
