"""Users, conversations and turns: what goes in comes out, in order, and only for its owner."""

from collections.abc import Callable

import pytest
from sqlalchemy import event

from storage.database import Database
from storage.errors import AlreadyAnswered, AlreadyFolded, InvalidText, NotFound
from storage.records import Conversation, Folding, Turn, User
from storage.store import Store
from tests.storage.conftest import fold, packed


def test_a_user_is_added_once(store: Store) -> None:
    assert store.ensure_user(" Ada ") == store.ensure_user("Ada") == store.find_user("Ada")


def test_a_name_that_another_process_adds_at_the_same_time_is_one_user(store: Store, ada: User) -> None:
    assert store._add_user("Ada") == ada


def test_an_unknown_name_is_nobody(store: Store) -> None:
    assert store.find_user("Nobody") is None


def test_names_that_differ_in_case_are_two_users(store: Store, ada: User) -> None:
    assert store.ensure_user("ADA").id != ada.id


def test_a_new_conversation_is_empty(talk: Conversation, ada: User) -> None:
    assert (talk.user_id, talk.turns, talk.title) == (ada.id, 0, "")


def test_conversations_are_listed_newest_first_with_title_and_number_of_turns(store: Store, ada: User) -> None:
    first, second = store.start_conversation(ada.id), store.start_conversation(ada.id)
    store.append_turn(ada.id, first.id, "é" * 70)
    store.append_turn(ada.id, first.id, "later")
    listed = store.list_conversations(ada.id)
    assert [(c.id, c.turns, c.title) for c in listed] == [(second.id, 0, ""), (first.id, 2, "é" * 60)]


def test_turns_are_loaded_oldest_first(store: Store, ada: User, talk: Conversation) -> None:
    written = [store.append_turn(ada.id, talk.id, text) for text in ("one", "two", "three")]
    assert store.load_turns(ada.id, talk.id) == written


def test_an_answer_is_stored_with_its_turn(store: Store, ada: User, talk: Conversation, turn: Turn) -> None:
    answered = store.answer_turn(ada.id, turn.id, "Lovely.\r\n🙂")
    assert answered.reply_text == "Lovely.\r\n🙂"
    assert turn.created_at <= (answered.answered_at or 0)
    assert store.load_turns(ada.id, talk.id) == [answered]


def test_an_empty_reply_is_a_reply(store: Store, ada: User, turn: Turn) -> None:
    assert store.answer_turn(ada.id, turn.id, "").reply_text == ""
    with pytest.raises(AlreadyAnswered, match=str(turn.id)):
        store.answer_turn(ada.id, turn.id, "again")


def test_a_folded_turn_keeps_its_text(store: Store, ada: User, turn: Turn) -> None:
    fold(store, turn)
    with pytest.raises(AlreadyFolded):
        store.answer_turn(ada.id, turn.id, "too late")


def test_a_refused_text_stores_nothing(store: Store, ada: User, talk: Conversation) -> None:
    with pytest.raises(InvalidText):
        store.append_turn(ada.id, talk.id, "\ud800")
    assert store.load_turns(ada.id, talk.id) == []


def test_an_unknown_user_cannot_start_a_conversation(store: Store) -> None:
    with pytest.raises(NotFound, match="no user 7"):
        store.start_conversation(7)


OTHERS: dict[str, Callable[[Store, int, Turn], object]] = {
    "load_turns": lambda store, user, turn: store.load_turns(user, turn.conversation_id),
    "append_turn": lambda store, user, turn: store.append_turn(user, turn.conversation_id, "mine now"),
    "answer_turn": lambda store, user, turn: store.answer_turn(user, turn.id, "mine now"),
    "commit_fold": lambda store, user, turn: store.commit_fold(turn.id, user, 0, packed(b"x"), Folding(0.1, 1, "l1nk")),
}


@pytest.mark.parametrize("verb", OTHERS)
def test_another_users_things_are_not_found(store: Store, bob: User, turn: Turn, verb: str) -> None:
    with pytest.raises(NotFound, match="for this user"):
        OTHERS[verb](store, bob.id, turn)
    assert store.unfolded_turns() == [turn]
    assert store.load_memory(bob.id) is None


def test_what_is_anothers_and_what_is_not_there_are_refused_in_the_same_words(
    store: Store, bob: User, talk: Conversation
) -> None:
    def refusal(conversation_id: int) -> str:
        with pytest.raises(NotFound) as refused:
            store.load_turns(bob.id, conversation_id)
        return str(refused.value).replace(str(conversation_id), "N")

    assert refusal(talk.id) == refusal(999)


def test_lists_hold_only_the_users_own(store: Store, ada: User, bob: User, turn: Turn) -> None:
    fold(store, turn)
    assert store.list_conversations(bob.id) == store.unfolded_turns(bob.id) == store.held_turns(bob.id) == []
    assert store.load_memory(bob.id) is None
    assert len(store.held_turns(ada.id)) == len(store.list_conversations(ada.id)) == 1


def test_a_number_beyond_the_database_is_not_found(store: Store, ada: User) -> None:
    with pytest.raises(NotFound, match="so large a number"):
        store.load_turns(ada.id, 10**30)


def statements_of(database: Database) -> list[str]:
    """A list that grows with every statement from now on."""
    statements: list[str] = []
    event.listen(database._engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    return statements


def test_lists_never_read_the_state(database: Database, store: Store, ada: User, turn: Turn) -> None:
    fold(store, turn)
    statements = statements_of(database)
    store.find_user("Ada")
    store.list_conversations(ada.id)
    store.load_turns(ada.id, turn.conversation_id)
    store.unfolded_turns()
    store.held_turns(ada.id)
    assert not [statement for statement in statements if "blob" in statement]
    store.load_memory(ada.id)
    assert any("blob" in statement for statement in statements)


def test_a_fold_does_not_read_the_state_it_replaces(database: Database, store: Store, talk: Conversation) -> None:
    first, second = (store.append_turn(talk.user_id, talk.id, text) for text in ("one", "two"))
    memory = fold(store, first)
    statements = statements_of(database)
    fold(store, second, memory.version)
    assert [statement.split()[0] for statement in statements if "blob" in statement] == ["UPDATE"]
