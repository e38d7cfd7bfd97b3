"""Two memories made one: the same, whichever is taken into which, and with every turn once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest

from app.errors import BadParcel
from app.merging import interleaved
from app.service import Service
from storage.errors import NotEmpty, NotFound
from storage.records import Turn, User
from storage.store import Store
from tests.app.conftest import say


def turn(number: int, at: float, text: str = "") -> Turn:
    said = text or f"turn {number} at {at}"
    return Turn(number, 1, 1, said, "yes", at, at, at, 0.1, 3, number, None)


def texts(turns: Sequence[Turn]) -> list[str]:
    return [one.user_text for one in turns]


def test_turns_stand_in_the_order_of_their_times() -> None:
    one, other = [turn(1, 1.0), turn(2, 4.0)], [turn(-1, 2.0), turn(-2, 3.0), turn(-3, 5.0)]
    assert [each.created_at for each in interleaved(one, other)] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_turn_of_both_ledgers_is_taken_once_and_keeps_its_place_here() -> None:
    shared = turn(1, 1.0)
    merged = interleaved([shared, turn(2, 2.0)], [replace(shared, id=-1), turn(-2, 3.0)])
    assert [one.id for one in merged] == [1, 2, -2]


def test_a_ledger_whose_clock_went_back_keeps_its_order() -> None:
    mine = [turn(1, 9.0, "first"), turn(2, 1.0, "second")]
    assert texts(interleaved(mine, [turn(-1, 5.0, "other")])) == ["other", "first", "second"]


def test_a_clock_that_went_back_gives_one_order_whichever_way() -> None:
    one, other = [turn(1, 5.0, "a"), turn(2, 1.0, "b")], [turn(3, 5.5, "c"), turn(4, 2.0, "d"), turn(5, 6.0, "e")]
    assert texts(interleaved(one, other)) == texts(interleaved(other, one)) == ["a", "b", "c", "d", "e"]


def test_what_was_corrected_here_does_not_come_back_with_an_older_file() -> None:
    here, there = [turn(1, 1.0, "I live in Oslo")], [turn(-1, 1.0, "I live in Rome"), turn(-2, 2.0, "I drink tea")]
    assert texts(interleaved(here, there)) == ["I live in Oslo", "I drink tea"]


def test_a_turn_that_either_has_pinned_is_pinned() -> None:
    plain, pinned = turn(1, 1.0), replace(turn(2, 1.0), pinned=True)
    assert [one.pinned for one in (*interleaved([plain], [pinned]), *interleaved([pinned], [plain]))] == [True, True]


def blob(store: Store, user: User) -> bytes:
    memory = store.load_memory(user.id)
    assert memory
    return memory.blob


@pytest.fixture
def files(service: Service, store: Store) -> list[bytes]:
    """Three people's memories, told in turns."""
    people = [store.ensure_user(name) for name in ("one", "two", "three")]
    for number, text in enumerate(["I am Ada", "My dog is red", "I drink tea", "I live in Oslo", "A cat", "I am Bob"]):
        say(service, people[number % 3], text)
    service.pin(people[1].id, store.held_turns(people[1].id)[0].id, True)
    return [service.export_memory(person.id) for person in people]


def test_every_order_of_merging_gives_the_same_memory(service: Service, store: Store, files: list[bytes]) -> None:
    made = set()
    for number, order in enumerate(permutations(files)):
        name = f"merged {number}"
        assert [service.import_memory(service.ensure_user(name).id, file, merge=True) for file in order] == [2, 2, 2]
        user = store.ensure_user(name)
        assert service.verify(user.id).is_clean
        made.add(blob(store, user))
    assert len(made) == 1


def test_merging_what_is_there_already_changes_nothing(service: Service, store: Store, files: list[bytes]) -> None:
    user = store.ensure_user("one")
    before = blob(store, user)
    assert service.import_memory(service.ensure_user("one").id, files[0], merge=True) == 0
    assert blob(store, user) == before
    assert len(store.held_turns(user.id)) == 2


def test_a_pin_of_the_other_memory_is_kept(service: Service, store: Store, files: list[bytes]) -> None:
    user = store.ensure_user("two")
    service.pin(user.id, store.held_turns(user.id)[0].id, False)
    assert service.import_memory(service.ensure_user("two").id, files[1], merge=True) == 0
    assert [turn.pinned for turn in store.held_turns(user.id)] == [True, False]
    assert service.verify(user.id).is_clean


def test_a_refused_file_answers_nothing(service: Service, store: Store, files: list[bytes]) -> None:
    user = store.ensure_user("waits")
    waiting = store.append_turn(user.id, store.start_conversation(user.id).id, "hello")
    with pytest.raises(NotEmpty):
        service.import_memory(service.ensure_user("waits").id, files[0])
    assert store.unfolded_turns(user.id) == [waiting]


def test_what_another_process_is_answering_is_left_to_it(service: Service, store: Store, files: list[bytes]) -> None:
    user = store.ensure_user("one")
    waiting = store.append_turn(user.id, store.start_conversation(user.id).id, "I drink coffee")
    turns = store.held_turns(user.id)
    for act in (lambda: service.pin(user.id, waiting.id, True), lambda: service.correct(user.id, waiting.id, "x")):
        with pytest.raises(NotFound, match="not in the memory yet"):
            act()
    service.pin(user.id, turns[0].id, True)
    service.correct(user.id, turns[1].id, "I live in Vienna")
    service.import_memory(service.ensure_user("one").id, files[1], merge=True)
    service.forget_turns(user.id, [turns[0].id])
    assert store.unfolded_turns(user.id) == [waiting]
    assert store.answer_turn(user.id, waiting.id, "so do I").reply_text == "so do I"
    assert service.verify(user.id).is_clean


def test_a_merged_memory_goes_on_and_forgets(service: Service, store: Store, files: list[bytes]) -> None:
    user = store.ensure_user("one")
    service.import_memory(service.ensure_user("one").id, files[1], merge=True)
    assert say(service, user, "And?")[0] == "I know ada oslo cat dog red."
    turns = store.held_turns(user.id)
    service.forget_turns(user.id, [turns[1].id])
    assert service.verify(user.id).is_clean
    assert len(store.held_turns(user.id)) == 4


def test_what_is_refused_leaves_both_as_they_were(service: Service, store: Store, files: list[bytes]) -> None:
    user = store.ensure_user("one")
    before = blob(store, user), store.held_turns(user.id)
    with pytest.raises(NotEmpty, match="or merge the two"):
        service.import_memory(service.ensure_user("one").id, files[1])
    with pytest.raises(BadParcel):
        service.import_memory(service.ensure_user("one").id, files[1][:-30], merge=True)
    assert (blob(store, user), store.held_turns(user.id)) == before
