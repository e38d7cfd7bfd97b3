"""A database of its own for every test, with a user, a conversation and a turn to start from.

Both databases that can be chosen are asked the same, and SQLite once more with everything sealed. The timeout is short,
so that a test of a lock does not wait as long as a person would.
"""

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from benchmarks import postgres
from storage.database import Database, file_url, open_database
from storage.records import Conversation, Folding, Memory, Packed, Turn, User
from storage.store import Store

TIMEOUT = 0.2
NUMBERS = count()
BLOB = b"state-bytes" * 100
MASTER = bytes(range(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imprint.db"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What any database has to do is asked of both; a test without a store, or with a file, is about SQLite."""
    if "kind" in metafunc.fixturenames:
        both = "store" in metafunc.fixturenames and "path" not in metafunc.fixturenames
        kinds = ["sqlite", "sealed", "postgresql"] if both else ["sqlite"]
        metafunc.parametrize("kind", kinds, indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    if not postgres.find_binaries():
        pytest.skip(f"no PostgreSQL server in {postgres.DEBIAN}")
    with postgres.running() as address:
        yield address


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    """The address of an empty database."""
    if kind != "postgresql":
        return file_url(request.getfixturevalue("tmp_path") / "imprint.db")
    address, name = request.getfixturevalue("server"), f"test_{next(NUMBERS)}"
    admin = create_engine(address.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    return str(address.format(name=name))


@pytest.fixture
def database(url: str, kind: str) -> Iterator[Database]:
    opened = open_database(url, timeout=TIMEOUT, master=MASTER if kind == "sealed" else None)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def ada(store: Store) -> User:
    return store.ensure_user("Ada")


@pytest.fixture
def bob(store: Store) -> User:
    return store.ensure_user("Bob")


@pytest.fixture
def talk(store: Store, ada: User) -> Conversation:
    return store.start_conversation(ada.id)


@pytest.fixture
def turn(store: Store, ada: User, talk: Conversation) -> Turn:
    return store.append_turn(ada.id, talk.id, "My cat is called Miso.")


def fold(store: Store, turn: Turn, expected_version: int = 0, blob: bytes = BLOB) -> Memory:
    return store.commit_fold(turn.id, turn.user_id, expected_version, packed(blob), Folding(0.5, 12, "l1nk"))


def packed(blob: bytes) -> Packed:
    return Packed(blob, "f00d", 1)


def file_digests(folder: Path) -> dict[str, str]:
    """Name and digest of every file in the folder: what a refused opening must leave as it was."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.is_file()}
