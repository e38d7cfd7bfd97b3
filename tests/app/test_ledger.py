"""The ledger: every link can be derived again, a change anywhere is found, and what is forgotten was never there."""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from app.errors import WrongModel
from app.ledger import replay
from app.service import Service
from app.settings import Settings
from core.engine import Engine
from core.state import State
from storage.errors import NotFound
from storage.records import Probe, Turn, User
from storage.store import Store
from tests.app.conftest import loaded, say
from tests.fakes import FakeEngine
from tests.tiny import tiny_engine


def change(settings: Settings, statement: str) -> None:
    """What no verb would do."""
    path = settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def held(store: Store, user: User) -> list[Turn]:
    return store.held_turns(user.id)


@pytest.fixture
def talked(service: Service, store: Store, ada: User) -> list[Turn]:
    """Three turns: the first two in one conversation."""
    reply = service.send(ada.id, None, "I am Ada")
    reply.remembered.result(timeout=10)
    say(service, ada, "I drink tea", reply.turn.conversation_id)
    say(service, ada, "My cat is red")
    return held(store, ada)


def test_a_memory_that_nobody_touched_is_clean(service: Service, ada: User, talked: list[Turn]) -> None:
    found = service.verify(ada.id)
    assert found.is_clean
    assert (found.turns, found.unlinked, found.broken, found.difference) == (3, 0, None, 0.0)


def test_nobodys_memory_is_clean(service: Service, bob: User) -> None:
    assert service.verify(bob.id).is_clean


def test_links_are_those_of_a_replay(engine: FakeEngine, talked: list[Turn]) -> None:
    assert replay(engine, talked).links == {turn.id: turn.link for turn in talked}  # type: ignore[arg-type]
    assert len({turn.link for turn in talked}) == 3


def test_a_changed_text_breaks_the_chain_at_its_turn(
    service: Service, settings: Settings, ada: User, talked: list[Turn]
) -> None:
    change(settings, f"UPDATE turns SET user_text = 'I drink milk' WHERE id = {talked[1].id}")
    found = service.verify(ada.id)
    assert not found.is_clean
    assert found.broken == talked[1].id


def test_a_changed_reply_breaks_the_chain_too(
    service: Service, settings: Settings, ada: User, talked: list[Turn]
) -> None:
    change(settings, f"UPDATE turns SET reply_text = reply_text || '!' WHERE id = {talked[0].id}")
    assert service.verify(ada.id).broken == talked[0].id


def test_a_turn_taken_out_behind_our_back_is_found(
    service: Service, settings: Settings, ada: User, talked: list[Turn]
) -> None:
    change(settings, f"DELETE FROM turns WHERE id = {talked[0].id}")
    found = service.verify(ada.id)
    assert (found.broken, found.state_matches) == (talked[1].id, False)
    assert found.difference == 1.0


def test_turns_without_links_are_counted_and_what_follows_is_linked(
    service: Service, settings: Settings, ada: User, talked: list[Turn]
) -> None:
    change(settings, "UPDATE turns SET link = NULL")
    say(service, ada, "My dog is red")
    found = service.verify(ada.id)
    assert found.is_clean
    assert (found.turns, found.unlinked) == (4, 3)


def test_a_rebuild_links_every_turn(service: Service, settings: Settings, ada: User, talked: list[Turn]) -> None:
    change(settings, "UPDATE turns SET link = NULL")
    service.rebuild(ada.id)
    found = service.verify(ada.id)
    assert (found.is_clean, found.unlinked) == (True, 0)


def test_forgetting_a_turn_leaves_the_memory_that_never_saw_it(
    service: Service, store: Store, ada: User, bob: User, talked: list[Turn]
) -> None:
    receipt = service.forget_turns(ada.id, [talked[1].id])
    for text in ("I am Ada", "My cat is red"):
        say(service, bob, text)
    mine, other = store.load_memory(ada.id), store.load_memory(bob.id)
    assert mine and other
    assert mine.blob == other.blob
    assert (receipt.turns, receipt.conversations, receipt.digest_after) == (1, 0, other.header.digest)
    assert [turn.user_text for turn in held(store, ada)] == ["I am Ada", "My cat is red"]
    assert service.verify(ada.id).is_clean


def test_what_was_forgotten_is_not_known_and_the_rest_is(service: Service, ada: User, talked: list[Turn]) -> None:
    service.forget_turns(ada.id, [talked[1].id])
    assert say(service, ada, "What do you know?")[0] == "I know ada cat red."


def test_a_receipt_says_what_memory_made_of_the_words_before_and_since(
    service: Service, store: Store, ada: User, talked: list[Turn]
) -> None:
    assert service.forget_turns(ada.id, [talked[1].id]).probe == Probe(1.0, 0.0)
    say(service, ada, "A red cat, and tea")
    corrected = service.correct(ada.id, talked[2].id, "My dog")
    assert corrected.probe == Probe(2.0, 2.0)  # another turn says so too
    assert service.list_receipts(ada.id)[0] == corrected
    assert service.forget_everything(ada.id).probe is None


def test_a_turn_weighs_what_it_adds(service: Service, ada: User, bob: User, talked: list[Turn]) -> None:
    assert service.weigh(ada.id, talked[2].id) == pytest.approx([6**0.5] * 2)  # two words, each counted thrice
    with pytest.raises(NotFound):
        service.weigh(bob.id, talked[2].id)


def test_what_waits_to_be_folded_can_be_forgotten_too(
    service: Service, store: Store, ada: User, talked: list[Turn]
) -> None:
    waiting = store.append_turn(ada.id, talked[0].conversation_id, "I have a dog")
    service.forget_turns(ada.id, [waiting.id])
    assert say(service, ada, "What do you know?")[0] == "I know ada cat tea red."
    assert service.verify(ada.id).is_clean


def test_forgetting_a_conversation_forgets_its_turns(
    service: Service, store: Store, ada: User, talked: list[Turn]
) -> None:
    receipt = service.forget_conversation(ada.id, talked[0].conversation_id)
    assert (receipt.turns, receipt.conversations) == (2, 1)
    assert [turn.id for turn in held(store, ada)] == [talked[2].id]
    assert [talk.id for talk in service.list_conversations(ada.id)] == [talked[2].conversation_id]
    assert service.list_receipts(ada.id) == [receipt]


def test_forgetting_all_turns_leaves_an_empty_state(
    service: Service, store: Store, engine: FakeEngine, ada: User, talked: list[Turn]
) -> None:
    service.forget_turns(ada.id, [turn.id for turn in talked])
    memory = store.load_memory(ada.id)
    assert memory and State.from_bytes(memory.blob).is_empty
    assert say(service, ada, "What do you know?")[0] == "I know nothing."


def test_nobody_forgets_or_explains_anothers_turns(
    service: Service, store: Store, ada: User, bob: User, talked: list[Turn]
) -> None:
    for act in (
        lambda: service.forget_turns(bob.id, [talked[0].id]),
        lambda: service.forget_conversation(bob.id, talked[0].conversation_id),
        lambda: service.why(bob.id, talked[0].id),
    ):
        with pytest.raises(NotFound):
            act()
    assert held(store, ada) == talked


def test_a_foreign_memory_is_not_touched(
    service: Service, store: Store, ada: User, talked: list[Turn], settings: Settings
) -> None:
    other = Service(store, loaded(FakeEngine(fingerprint="0ther" * 12)), settings)
    for act in (lambda: other.forget_turns(ada.id, [talked[0].id]), lambda: other.verify(ada.id)):
        with pytest.raises(WrongModel):
            act()
    assert held(store, ada) == talked


def test_a_reply_is_traced_to_the_turn_that_told(
    service: Service, store: Store, engine: FakeEngine, ada: User, talked: list[Turn]
) -> None:
    say(service, ada, "What do I drink?")
    say(service, ada, "My dog is red")
    asked = held(store, ada)[3]
    causes = service.why(ada.id, asked.id)
    assert {cause.turn.id for cause in causes} == {turn.id for turn in talked}
    assert [cause.influence for cause in causes] == [2.0, 1.0, 1.0]
    assert causes[0].turn.id == talked[2].id
    assert [message.text for message in engine.prompts[-1]] == ["What do I drink?"]


def test_a_reply_without_memory_came_from_nothing(service: Service, ada: User, talked: list[Turn]) -> None:
    assert service.why(ada.id, talked[0].id) == []


def test_a_reply_is_explained_with_the_prompt_it_had(
    service: Service, engine: FakeEngine, ada: User, talked: list[Turn]
) -> None:
    say(service, ada, "And a dog", talked[0].conversation_id)
    service.why(ada.id, talked[1].id)
    assert [message.text for message in engine.prompts[-1]] == ["I am Ada", "I know nothing.", "I drink tea"]


def test_a_real_state_without_a_turn_is_bit_for_bit_that_of_a_memory_that_never_saw_it(
    store: Store, settings: Settings, ada: User, bob: User, tmp_path: Path
) -> None:
    real: Future[Engine] = Future()
    real.set_result(tiny_engine())
    service = Service(store, real, settings.model_copy(update={"reply_tokens": 1}))
    texts = ["My name is Marta.", "I like sushi.", "I live in Vienna.", "Hello."]
    for text in texts:
        turn = store.append_turn(ada.id, store.start_conversation(ada.id).id, text)
        store.answer_turn(ada.id, turn.id, "I see.")
    service.recover()
    gone = held(store, ada)[1]
    service.forget_turns(ada.id, [gone.id])
    for text in (texts[0], *texts[2:]):
        turn = store.append_turn(bob.id, store.start_conversation(bob.id).id, text)
        store.answer_turn(bob.id, turn.id, "I see.")
    service.recover()
    mine, other = store.load_memory(ada.id), store.load_memory(bob.id)
    assert mine and other
    assert mine.blob == other.blob
    assert service.verify(ada.id).is_clean
    service.close()
