"""How many messages of one person are taken in a minute: the next is refused, changes nothing, and others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UserBusy
from app.pace import Pace
from app.reply import TemporaryChat
from app.service import Service
from app.settings import Settings
from storage.database import file_url
from storage.records import User
from storage.store import Store
from tests.app.conftest import say


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minute_holds_so_many_and_then_more() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    for clock.now in (0.0, 10.0):
        pace.take(1)
    clock.now = 20.0
    with pytest.raises(UserBusy, match=r"No more than 2 messages a minute .* in 40 seconds"):
        pace.take(1)
    pace.take(2)
    clock.now = 60.0
    pace.take(1)
    with pytest.raises(UserBusy):
        pace.take(1)


def test_no_limit_counts_nothing() -> None:
    pace = Pace(0, Clock())
    for _ in range(1000):
        pace.take(1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model=tmp_path, database_url=file_url(tmp_path / "imprint.db"), messages_a_minute=2)


def test_what_is_refused_changes_nothing(service: Service, store: Store, ada: User) -> None:
    say(service, ada, "I am Ada")
    say(service, ada, "I live in Oslo")
    turns = store.held_turns(ada.id)
    for refused in (
        lambda: service.send(ada.id, None, "My cat is red"),
        lambda: service.send_temporarily(ada.id, TemporaryChat(), "My cat is red"),
        lambda: service.retry(ada.id, turns[-1].conversation_id),
    ):
        with pytest.raises(UserBusy):
            refused()
    assert store.held_turns(ada.id) == turns
    assert len(service.list_conversations(ada.id)) == 2
    say(service, service.ensure_user("Bob"), "I am Bob")
