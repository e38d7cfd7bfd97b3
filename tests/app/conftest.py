"""A service over a fake engine and a real store, each test with a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from socket import socket

import gradio as gr
import pytest

from app.handlers import Handlers
from app.reply import Remembered
from app.service import Service
from app.settings import Settings
from app.ui import build_page, start_page
from core.engine import Engine
from storage.database import Database, file_url, open_database
from storage.records import User
from storage.store import Store
from tests.fakes import FakeEngine
from tests.tiny import tiny_engine


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model=tmp_path, database_url=file_url(tmp_path / "imprint.db"), patience_seconds=20)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = open_database(settings.database_url)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def service(store: Store, engine: FakeEngine, settings: Settings) -> Iterator[Service]:
    made = Service(store, loaded(engine), settings)
    yield made
    made.close()


@pytest.fixture
def real() -> Engine:
    """A network, if a tiny one."""
    return tiny_engine()


@pytest.fixture
def remembering(store: Store, real: Engine, settings: Settings) -> Iterator[Service]:
    """A service whose folds are those of a network."""
    made = Service(store, loaded(real), settings)  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.fixture
def ada(store: Store) -> User:
    return store.ensure_user("Ada")


@pytest.fixture
def bob(store: Store) -> User:
    return store.ensure_user("Bob")


@pytest.fixture
def page(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[gr.Blocks]:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    blocks = build_page(Handlers(service))
    start_page(blocks, "127.0.0.1", free_port())
    yield blocks
    blocks.close(verbose=False)


def free_port() -> int:
    """A port that nobody listens on; of those that Gradio would look through, tests side by side find the same."""
    with socket() as looking:
        looking.bind(("127.0.0.1", 0))
        return int(looking.getsockname()[1])


def loaded(engine: FakeEngine) -> Future[FakeEngine]:
    """The engine as the service gets it, loaded already."""
    future: Future[FakeEngine] = Future()
    future.set_result(engine)
    return future


def say(service: Service, user: User, text: str, conversation_id: int | None = None) -> tuple[str, Remembered]:
    """Send a message and wait until it is folded; return the reply and what it left behind."""
    reply = service.send(user.id, conversation_id, text)
    return "".join(reply), reply.remembered.result(timeout=10)


def bare(content: str) -> str:
    """What a message of the page says, without what remembering it cost."""
    return content.partition("\n<small")[0]
