"""Replies by another server: they are those that this process would write, and what is gone here is gone there."""

from __future__ import annotations

import gc
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
from core.served import ServedEngine, Server
from tests.core.lora_server import LoraServer, serving
from tests.tiny import tiny_folder

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
    assert len(there.loaded) == 2


def test_a_memory_is_sent_once_and_taken_away_with_its_adapter(folder: Path, there: LoraServer, server: Server) -> None:
    engine = opened(folder, server)
    adapter = told(engine, "My name is Marta.")
    written(engine, adapter), written(engine, adapter)
    assert there.ever == list(there.loaded) == [path.name for path in server.folder.iterdir()]
    del adapter
    gc.collect()
    assert not there.loaded and not list(server.folder.iterdir())


def test_no_more_are_held_than_the_server_takes(folder: Path, there: LoraServer, server: Server) -> None:
    engine = opened(folder, server)
    adapters = [told(engine, text) for text in ("I am Ada.", "I am Bob.", "I am Cid.")]
    replies = [written(engine, adapter) for adapter in adapters]
    assert len(there.loaded) == 2 and there.ever[0] not in there.loaded
    assert written(engine, adapters[0]) == replies[0]
    assert len(set(there.ever)) == 4 and len(there.loaded) == 2  # a new name each time


def test_one_that_is_writing_is_never_taken_away(folder: Path, there: LoraServer, server: Server) -> None:
    engine = opened(folder, replace(server, loras=1))
    first, second = told(engine, "I am Ada."), told(engine, "I am Bob.")
    expected = written(engine, first)
    writing = iter(engine.reply(first, ASK, SHORT))
    start = next(writing)
    written(engine, second)
    assert start + "".join(writing) == expected


def test_a_stopped_reply_ends(folder: Path, server: Server) -> None:
    engine, stop = opened(folder, server), threading.Event()
    reply = iter(engine.reply(told(engine, "I am Ada."), ASK, Sampling(max_tokens=64), stop))
    next(reply)
    stop.set()
    assert len("".join(reply)) == 0


def test_a_rank_beyond_the_servers_is_refused_or_cut(folder: Path, there: LoraServer, server: Server) -> None:
    there.rank = 4
    engine = opened(folder, server)
    adapter = told(engine, "My name is Marta.")
    with pytest.raises(ServerError, match=r"refuses with 400: .*max_lora_rank 4"):
        written(engine, adapter)
    assert not list(server.folder.iterdir())
    assert written(opened(folder, replace(server, rank=4)), adapter)


def test_what_a_killed_process_left_is_swept(folder: Path, server: Server) -> None:
    (server.folder / "imprint-old").mkdir(parents=True)
    (server.folder / "other").mkdir()
    opened(folder, server)
    assert [path.name for path in server.folder.iterdir()] == ["other"]


def test_a_server_that_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="see whether it runs"):
        opened(folder, Server("http://127.0.0.1:9", "vllm", tmp_path))


def test_folding_does_not_ask_the_server(folder: Path, there: LoraServer, server: Server) -> None:
    here, served = opened(folder), opened(folder, server)
    one, other = (engine.fold(engine.empty_state(), ASK).sums for engine in (here, served))
    assert torch.equal(one, other) and there.written == 0
