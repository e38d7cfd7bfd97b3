"""A database of its own for every test, with a user, a conversation and a turn to start from.

The timeout is short, so that a test of a lock does not wait as long as a person would.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database, file_url, open_database
from storage.records import Conversation, Folding, Memory, Packed, Turn, User
from storage.store import Store

TIMEOUT = 0.2
BLOB = b"state-bytes" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imprint.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = open_database(file_url(path), timeout=TIMEOUT)
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
