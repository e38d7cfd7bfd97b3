"""A page's actions in every order: a stop names what came before it, and only the newest action shows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.reply import Held, Reading, Reply
from app.tab import Tab
from storage.records import User
from storage.store import Store


@pytest.fixture
def reply(store: Store, ada: User) -> Reply:
    turn = store.append_turn(ada.id, store.start_conversation(ada.id).id, "I am Ada")
    return Reply(turn, Reading(0, Held(0, 0, 0)))


def words(*shown: str) -> Generator[str]:
    yield from shown


def test_a_stop_ends_the_reply_that_was_being_written_at_the_click(reply: Reply) -> None:
    tab = Tab()
    tab.begin(1)
    tab.answer(1, reply)
    tab.stop(1)
    assert reply.stopped.is_set()


@pytest.mark.parametrize("act", [Tab.stop, Tab.leave])
def test_a_click_before_a_message_never_touches_it_however_late(act: Callable[[Tab, int], None], reply: Reply) -> None:
    tab = Tab()
    tab.begin(2)
    tab.answer(2, reply)
    act(tab, 1)
    assert not reply.stopped.is_set()
    assert list(tab.show(2, words("Replying"))) == ["Replying"]


def test_a_message_left_while_it_waits_is_stopped_as_soon_as_it_is_answered(reply: Reply) -> None:
    tab = Tab()
    tab.begin(1)
    tab.leave(2)
    tab.answer(1, reply)
    assert reply.stopped.is_set()


def test_a_second_message_waits_for_the_first_to_be_over_or_left() -> None:
    tab = Tab()
    assert tab.begin(1)
    assert not tab.begin(2)
    tab.end(1)
    assert tab.begin(3)
    tab.leave(4)
    assert tab.begin(5)


def test_what_was_left_shows_nothing_more_and_its_stream_is_closed() -> None:
    tab = Tab()
    stream = words("I", " know")
    shown = tab.show(1, stream)
    assert next(shown) == "I"
    tab.leave(2)
    assert list(shown) == []
    assert next(stream, None) is None


def test_an_action_shows_only_when_the_one_before_has_sent_off_its_output() -> None:
    tab = Tab()
    before = tab.show(1, words("I", " know"))
    next(before)
    tab.leave(2)
    with ThreadPoolExecutor(1) as pool:
        after = pool.submit(next, tab.show(2, words("Ready")))
        assert not after.done()
        assert list(before) == []
        assert after.result(timeout=10) == "Ready"


def test_what_rests_is_shown_until_a_message_begins_if_only_while_it_was_made() -> None:
    tab = Tab()

    def resting(begin: bool = False) -> Generator[str]:
        if begin:
            tab.begin(1)
        yield "Ready"

    assert list(tab.show(1, resting(), resting=True)) == ["Ready"]
    assert list(tab.show(1, resting(begin=True), resting=True)) == []
    assert list(tab.show(1, resting(), resting=False)) == ["Ready"]


def test_every_page_has_a_tab_of_its_own() -> None:
    tab = Tab()
    tab.begin(1)
    assert copy.deepcopy(tab).begin(1) and not tab.begin(1)
