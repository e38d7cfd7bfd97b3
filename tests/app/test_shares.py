"""What one person may keep: beyond it a message is refused and changes nothing, and others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ShareFull
from app.reply import TemporaryChat
from app.service import Service
from app.settings import Settings
from storage.database import file_url
from storage.records import Kept, User
from storage.store import Store
from tests.app.conftest import say
from tests.fakes import FakeEngine


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        model=tmp_path, database_url=file_url(tmp_path / "imprint.db"), conversations_each=2, megabytes_each=0.02
    )


def test_nothing_is_kept_of_a_stranger(store: Store) -> None:
    assert store.kept_of(7) == Kept(0, 0)


def test_what_is_kept_is_counted(service: Service, store: Store, ada: User) -> None:
    say(service, ada, "I am Ada")
    turns, memory = store.held_turns(ada.id), store.load_memory(ada.id)
    assert memory
    texts = sum(len(turn.user_text) + len(turn.reply_text or "") for turn in turns)
    assert store.kept_of(ada.id) == Kept(1, texts + len(memory.blob))


def test_one_conversation_too_many_is_refused(service: Service, store: Store, ada: User) -> None:
    say(service, ada, "I am Ada")
    say(service, ada, "I live in Oslo")
    with pytest.raises(ShareFull, match=r"2 conversations here and this one keeps 2; delete one"):
        service.send(ada.id, None, "My cat is red")
    talks = service.list_conversations(ada.id)
    assert len(talks) == 2 and len(store.held_turns(ada.id)) == 2
    say(service, ada, "My cat is red", talks[0].id)
    service.forget_conversation(ada.id, talks[1].id)
    say(service, ada, "I like tea")
    assert len(service.list_conversations(ada.id)) == 2


def test_a_message_that_does_not_fit_is_refused(service: Service, store: Store, ada: User) -> None:
    say(service, ada, "a" * 3000)
    talk = service.list_conversations(ada.id)[0].id
    with pytest.raises(ShareFull, match=r"0\.02 MB here and this one keeps 0\.0 MB; forget something"):
        for _ in range(8):
            say(service, ada, "a" * 3000, talk)
    assert store.kept_of(ada.id).size <= 20_000 + len(getattr(store.load_memory(ada.id), "blob", b""))
    say(service, service.ensure_user("Bob"), "I am Bob")
    "".join(service.send_temporarily(ada.id, TemporaryChat(), "This is kept nowhere"))


def test_a_file_that_does_not_fit_is_refused(service: Service, store: Store, ada: User) -> None:
    say(service, ada, "I am Ada")
    say(service, ada, "I live in Oslo")
    data = service.export_memory(ada.id)
    bob = service.ensure_user("Bob")
    say(service, bob, "I am Bob")
    turns = store.held_turns(bob.id)
    with pytest.raises(ShareFull):
        service.import_memory(service.ensure_user("Bob").id, data, merge=True)
    assert store.held_turns(bob.id) == turns
    assert service.import_memory(service.ensure_user("Cleo").id, data) == 2


def test_a_file_is_refused_by_what_it_unpacks_to_and_before_it_is_replayed(
    service: Service, store: Store, engine: FakeEngine, ada: User, bob: User
) -> None:
    say(service, ada, "a" * 3900)
    say(service, ada, "I am Ada", service.list_conversations(ada.id)[0].id)
    data = service.export_memory(ada.id)
    for _ in range(4):
        say(service, bob, "b" * 3900, next((talk.id for talk in service.list_conversations(bob.id)), None))
    assert store.kept_of(bob.id).size + len(data) < 20_000
    folds = len(engine.folds)
    with pytest.raises(ShareFull):
        service.import_memory(bob.id, data, merge=True)
    assert len(engine.folds) == folds
