"""What a page shows for what happened: sentences instead of errors, text instead of HTML."""

from __future__ import annotations

import logging
import re
from base64 import b64decode
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
import pytest

from app import wording
from app.answers import UNCHANGED
from app.errors import BadMessage, sentence_of
from app.guards import SAME, guarded, in_turn, leaving
from app.handlers import Handlers
from app.intake import text_from_bytes, text_of
from app.memories import MemoryView
from app.service import Service
from app.tab import Tab
from storage.records import User
from storage.store import Store
from tests.app.conftest import bare, say
from tests.fakes import FakeEngine


@pytest.fixture
def handlers(service: Service) -> Handlers:
    return Handlers(service)


@pytest.mark.parametrize(
    "content",
    [
        "tea",
        {"text": "tea"},
        [{"type": "text", "text": "tea"}],
        {"role": "user", "content": [{"type": "text", "text": "tea"}]},
        [{"type": "text", "text": "tea"}, {"type": "file", "file": {"path": "x"}}],
    ],
)
def test_every_form_of_content_becomes_its_text(content: object) -> None:
    assert text_of(content) == "tea"


def test_bytes_that_are_not_utf8_are_one_sentence() -> None:
    with pytest.raises(BadMessage, match="0xff at position 2"):
        text_from_bytes(b"te\xffa")


def test_a_turn_streams_into_the_chat_and_ends_with_what_was_remembered(handlers: Handlers, ada: User) -> None:
    shown = list(handlers.send(Tab(), 1, ada, None, "I am Ada"))
    *replies, last = [chat[-1]["content"] for _, _, chat, _, _ in shown if isinstance(chat, list)]
    assert replies == ["I am Ada", *(f"<p>{said}</p>" for said in ("I", "I know", "I know nothing", "I know nothing."))]
    assert re.fullmatch(r'<p>I know nothing.</p>\n<small class="cost" title="6 tokens, \d+ ms"></small>', last)
    assert "Remembered in" in shown[-1][-1]
    assert "1 turn in the weights" in shown[-1][-1]


def test_leaving_a_streaming_page_stops_the_turn(handlers: Handlers, store: Store, service: Service, ada: User) -> None:
    stream = handlers.send(Tab(), 1, ada, None, "I am Ada")
    next(stream), next(stream)
    stream.close()
    service.close()
    assert store.held_turns(ada.id)[0].reply_text in ("I", "I know nothing.")


def test_leaving_late_touches_neither_the_next_message_nor_what_it_shows(handlers: Handlers, ada: User) -> None:
    tab = Tab()
    stream = in_turn(handlers.send, [SAME] * 4)(tab, 2, ada, None, "I am Ada")
    next(stream), next(stream)
    assert list(in_turn(leaving(handlers.start_anew), [SAME] * 4)(tab, 1, ada)) == [SAME]
    *_, remembered, last = stream
    assert "Remembered in" in remembered[-1]
    assert last == SAME


def test_a_message_that_was_left_shows_nothing_more_and_keeps_what_was_shown(
    handlers: Handlers, store: Store, service: Service, engine: FakeEngine, ada: User
) -> None:
    engine.gate = Event()
    tab = Tab()
    stream = in_turn(handlers.send, [SAME] * 4)(tab, 1, ada, None, "I am Ada")
    next(stream), next(stream)
    tab.leave(2)
    assert list(stream) == [SAME]
    engine.gate.set()
    service.close()
    assert [turn.reply_text for turn in store.held_turns(ada.id)] == ["I"]


def test_a_message_left_before_it_came_is_not_stored(handlers: Handlers, store: Store, ada: User) -> None:
    tab = Tab()
    tab.leave(2)
    assert list(in_turn(handlers.send, [SAME] * 4)(tab, 1, ada, None, "I am Ada")) == [SAME]
    assert not store.unfolded_turns() and not store.held_turns(ada.id)


def test_a_box_that_rests_can_send_at_once(handlers: Handlers, ada: User) -> None:
    tab = Tab()
    for number in (1, 2):
        stream = handlers.send(tab, number, ada, None, "I am Ada")
        shown = next(stream)
        while "Remembered in" not in str(shown[-1]):
            shown = next(stream)
        assert shown[-2]["submit_btn"] is True


def test_a_refused_message_leaves_room_for_the_next(handlers: Handlers, ada: User) -> None:
    tab = Tab()
    refused, _ = in_turn(handlers.send, [SAME] * 4)(tab, 1, ada, None, " ")
    assert "alert" in refused[-1]
    assert tab.begin(2)


def test_waiting_for_the_model_says_nothing_over_a_message(handlers: Handlers, ada: User) -> None:
    tab, waited = Tab(), in_turn(handlers.await_model, [SAME], resting=True)
    assert "Ready" in next(waited(tab, 0, ada, None))[-1]
    tab.begin(1)
    assert list(waited(tab, 1, ada, None)) == [SAME]
    tab.end(1)
    assert list(waited(tab, 1, ada, None)) == [SAME]


def test_without_a_name_nothing_is_sent(handlers: Handlers, store: Store) -> None:
    [shown] = guarded(handlers.send, [SAME] * 4)(Tab(), 1, None, None, "I am Ada")
    assert "Nobody is named yet" in shown[-1]
    assert not store.unfolded_turns()


def test_entering_a_name_shows_that_persons_conversations_only(
    handlers: Handlers, service: Service, ada: User, bob: User
) -> None:
    say(service, ada, "I am Ada")
    say(service, bob, "I am Bob")
    _, visitor, name, _, conversation, listed, *_ = handlers.enter(" Ada ")
    user = visitor.owner()
    assert (user, name, conversation) == (ada, "Ada", None)
    assert [title for title, _ in listed["choices"]] == ["I am Ada"]


def test_an_old_conversation_is_shown_as_it_was(handlers: Handlers, service: Service, ada: User) -> None:
    reply = service.send(ada.id, None, "<b>I am Ada</b>")
    reply.remembered.result(timeout=10)
    chat = handlers.open_conversation(ada, reply.turn.conversation_id)[5]
    assert [(said["role"], bare(said["content"])) for said in chat] == [
        ("user", "&lt;b&gt;I am Ada&lt;/b&gt;"),
        ("assistant", "<p>I know nothing.</p>"),
    ]


def test_another_persons_conversation_is_one_sentence(
    handlers: Handlers, service: Service, ada: User, bob: User
) -> None:
    reply = service.send(ada.id, None, "I am Ada")
    reply.remembered.result(timeout=10)
    [shown] = guarded(handlers.open_conversation, [SAME] * 7)(bob, reply.turn.conversation_id)
    assert shown[:-1] == (SAME,) * 7
    assert "There is no conversation" in shown[-1]


def test_the_memory_tab_shows_the_ledger_and_each_layer(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada from Vienna")
    rows, norms, spectrum, *_, summary = handlers.show_memory(ada)
    assert rows[0][2] == "I am Ada from Vienna"
    assert (len(norms.data[0].y), len(spectrum.data)) == (2, 2)
    assert "1 turn held" in summary


def test_the_memory_tab_is_filled_for_whoever_looks_and_emptied_for_whoever_does_not(
    handlers: Handlers, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada")
    for shown in (handlers.look(Tab(), 0, ada), handlers.look_again(Tab(), 0, ada, True)):
        assert shown[0][0][2] == "I am Ada" and "1 turn held" in shown[-1]
    assert handlers.look_again(Tab(), 0, ada, False) == (*handlers.hidden_memory(), "")
    assert "Write a name" in handlers.look_again(Tab(), 0, None, False)[-1]


def test_a_memory_that_was_looked_at_is_shown_to_nobody_who_came_after(
    handlers: Handlers, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada")
    tab = Tab()
    tab.leave(2, departing=True)
    assert list(in_turn(handlers.look, [SAME] * 7, outlasting=True)(tab, 1, ada)) == [SAME]


def test_forgetting_clears_the_page(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    conversation, listed, chat, _, status = handlers.forget(ada)
    assert (conversation, listed["choices"], chat["value"]) == (None, [], [])
    assert "Forgotten: 1 turn in 1 conversation" in status


def picked(*row: object) -> gr.SelectData:
    return gr.SelectData(None, {"index": [0, 1], "value": row[1], "row_value": list(row)})


def test_a_turn_that_is_picked_is_shown_whole_and_inert(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am <b>Ada</b>")
    turn_id, panel, correction, pin, _, text = handlers.pick(Tab(), 0, ada, picked(1, "2026-11-24"))
    assert (turn_id, panel["visible"], correction, pin["value"]) == (1, True, "I am <b>Ada</b>", "Pin")
    assert "I am &lt;b&gt;Ada&lt;/b&gt;" in text and "I know nothing." in text


def test_nobody_picks_anothers_turn(handlers: Handlers, service: Service, ada: User, bob: User) -> None:
    say(service, ada, "I am Ada")
    [shown] = guarded(handlers.pick, [SAME] * 5)(Tab(), 0, bob, picked(1, "2026-11-24"))
    assert "There is no turn 1" in shown[-1]


def test_the_ledger_is_searched(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    say(service, ada, "I drink tea")
    assert [row[2] for row in handlers.search_ledger(Tab(), 0, ada, "TEA")[0]] == ["I drink tea"]
    assert len(handlers.search_ledger(Tab(), 0, ada, "")[0]) == 2
    assert handlers.search_ledger(Tab(), 0, ada, "nowhere")[0] == []


def test_a_turn_is_pinned_and_pinned_no_more(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    _, _, rows, *_, status = handlers.pin(Tab(), 0, ada, 1)
    assert (rows[0][2], "does not fade" in status) == ("[pinned] I am Ada", True)
    assert handlers.pick(Tab(), 0, ada, picked(1, ""))[3]["value"] == "Unpin"
    _, _, rows, *_, status = handlers.pin(Tab(), 0, ada, 1)
    assert (rows[0][2], "fades again" in status) == ("I am Ada", True)


def test_a_corrected_turn_is_shown_as_it_is_now(handlers: Handlers, service: Service, ada: User) -> None:
    talk = service.send(ada.id, None, "I am Ada")
    talk.remembered.result(timeout=10)
    _, _, rows, *_, status = handlers.correct(Tab(), 0, ada, 1, "I am Bob")
    assert (rows[0][2], "as corrected" in status) == ("I am Bob", True)
    conversations, chat, status = handlers.refresh(Tab(), 0, ada, talk.turn.conversation_id)
    assert [bare(said["content"]) for said in chat] == ["I am Bob", "<p>I know nothing.</p>"]
    assert conversations["choices"] == [("I am Bob", talk.turn.conversation_id)]
    [shown] = guarded(handlers.correct, [SAME] * 9)(Tab(), 0, ada, 1, "  ")
    assert shown[:-1] == (SAME,) * 9 and "The message is empty" in shown[-1]
    assert service.held_turns(ada.id)[0].user_text == "I am Bob"


def test_a_conversation_is_named_and_found(handlers: Handlers, service: Service, ada: User, bob: User) -> None:
    first, second = [service.send(ada.id, None, text) for text in ("I am Ada", "I drink 100% tea")]
    for reply in (first, second):
        reply.remembered.result(timeout=10)
    here = first.turn.conversation_id
    conversations, _ = handlers.rename(Tab(), 0, ada, here, "  Who\nI am  ")
    assert ("Who I am", here) in conversations["choices"]
    for text, found in (("who i", ["Who I am"]), ("TEA", ["I drink 100% tea"]), ("0% t", ["I drink 100% tea"])):
        assert [title for title, _ in handlers.search(Tab(), 0, ada, None, text)[0]["choices"]] == found
    for text in ("100_", "nowhere"):
        assert handlers.search(Tab(), 0, ada, None, text)[0]["choices"] == []
    assert len(handlers.search(Tab(), 0, ada, here, "")[0]["choices"]) == 2
    assert handlers.search(Tab(), 0, bob, None, "Ada")[0]["choices"] == []
    [shown] = guarded(handlers.rename, [SAME])(Tab(), 0, bob, here, "mine")
    assert "There is no conversation" in shown[-1]
    [shown] = guarded(handlers.rename, [SAME])(Tab(), 0, ada, here, "x" * 61)
    assert "61 characters" in shown[-1]
    assert ("I am Ada", here) in handlers.rename(Tab(), 0, ada, here, " ")[0]["choices"]


def test_the_list_holds_what_is_searched_for_also_after_a_message(
    handlers: Handlers, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada")
    talk = service.send(ada.id, None, "I drink tea")
    talk.remembered.result(timeout=10)
    here = talk.turn.conversation_id
    for shown in (
        next(handlers.send(Tab(), 1, ada, here, "And now?", "tea"))[1],
        next(handlers.retry(Tab(), 1, ada, here, "tea"))[1],
        handlers.take_back(ada, here, "tea")[1],
        handlers.rename(Tab(), 1, ada, here, "Drinks", "tea")[0],
        handlers.refresh(Tab(), 1, ada, here, "tea")[0],
        handlers.start_anew(ada, "tea")[1],
        handlers.start_temporarily(ada, "tea")[1],
    ):
        assert [number for _, number in shown["choices"]] == [here]


def test_a_memory_leaves_as_a_file_and_is_added_to_another(
    handlers: Handlers, service: Service, ada: User, bob: User, tmp_path: Path
) -> None:
    say(service, ada, "I am Ada")
    say(service, bob, "I drink tea")
    exported, status = handlers.export(Tab(), 0, ada)
    assert "Downloaded" in status
    file = tmp_path / "sent"
    file.write_bytes(b64decode(exported))
    _, _, rows, *_, status = handlers.take_in(Tab(), 0, bob, str(file))
    assert [row[2] for row in rows] == ["I drink tea", "I am Ada"]
    assert ("Took in 1 turn" in status, file.exists()) == (True, False)
    file.write_bytes(b"nonsense")
    [shown] = guarded(handlers.take_in, [SAME] * 8)(Tab(), 0, bob, str(file))
    assert ("not a memory" in shown[-1], file.exists()) == (True, False)


def test_a_chat_with_the_memory_as_of_a_turn_reads_no_more_than_that(
    handlers: Handlers, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada")
    say(service, ada, "I drink tea")
    here, _, chat, *_ = handlers.start_as_of(ada, 1)
    assert (here.as_of, "as it was then" in chat["placeholder"]) == (1, True)
    assert "".join(service.send_temporarily(ada.id, here, "What do you know?")) == "I know ada."


def test_what_changed_since_a_turn_is_told(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    first, last = handlers.changes_since(Tab(), 0, ada, 1)
    assert "Asking the memory" in first
    assert UNCHANGED in last


def test_forgetting_one_turn_leaves_the_others_and_shows_a_receipt(
    handlers: Handlers, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada")
    say(service, ada, "I drink tea")
    status = handlers.forget_turn(ada, 1)[-1]
    assert "Forgotten: 1 turn in 1 conversation" in status and "1 turn in the weights" in status
    rows, *_, receipt, summary = handlers.show_memory(ada)
    assert [row[2] for row in rows] == ["I drink tea"]
    assert "Receipt 1" in receipt and "1 turn held" in summary


def test_forgetting_a_conversation_forgets_all_its_turns(handlers: Handlers, service: Service, ada: User) -> None:
    reply = service.send(ada.id, None, "I am Ada")
    reply.remembered.result(timeout=10)
    say(service, ada, "I drink tea", reply.turn.conversation_id)
    assert "Forgotten: 2 turns in 1 conversation" in handlers.forget_conversation(ada, 2)[-1]


def test_a_check_says_that_the_memory_is_what_its_ledger_gives(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    assert "Clean: 1 turn replayed" in handlers.verify(Tab(), 0, ada)


def test_the_last_reply_is_explained_by_the_turns_it_came_from(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am <i>Ada</i>")
    reply = service.send(ada.id, None, "Who am I?")
    reply.remembered.result(timeout=10)
    shown = handlers.explain(Tab(), 0, ada, reply.turn.conversation_id)
    assert "I am &lt;i&gt;Ada&lt;/i&gt;" in shown and "width:100%" in shown
    assert handlers.explain(Tab(), 0, ada, None) == ""


def test_what_was_asked_before_the_name_changed_is_not_shown(handlers: Handlers, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    reply = service.send(ada.id, None, "Who am I?")
    reply.remembered.result(timeout=10)
    tab = Tab()
    tab.leave(2)
    shown = list(in_turn(handlers.explain, [])(tab, 1, ada, reply.turn.conversation_id))
    assert shown == [SAME]


def test_a_reply_that_memory_had_no_part_in_says_so(handlers: Handlers, service: Service, ada: User) -> None:
    reply = service.send(ada.id, None, "I am Ada")
    reply.remembered.result(timeout=10)
    assert wording.UNMOVED in handlers.explain(Tab(), 0, ada, reply.turn.conversation_id)


def test_an_unexpected_error_shows_and_logs_its_kind_but_never_what_was_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(text: str) -> Any:
        raise RuntimeError(f"secret {text}")

    with caplog.at_level(logging.INFO):
        [shown] = guarded(broken, [])("my secret")
    assert "RuntimeError" in shown[-1]
    assert "secret" not in shown[-1] + caplog.text.replace('raise RuntimeError(f"secret {text}")', "")


def test_html_in_a_sentence_is_inert() -> None:
    assert "<img" not in wording.alert(sentence_of(BadMessage("no <img src=x> here")))


def test_the_words_of_sizes_and_excerpts() -> None:
    assert (wording.sized(304), wording.sized(200_000)) == ("304 bytes", "195 KB")
    assert (wording.sized(1024**2), wording.sized(1_500_000_000)) == ("1.0 MB", "1,430.5 MB")
    assert wording.excerpt("a\n b" + "c" * 200) == "a b" + "c" * 76 + "…"


@pytest.mark.parametrize(("fullness", "warned"), [(0.0, False), (0.32, False), (0.33, True), (1.0, True)])
def test_a_memory_that_is_nearly_full_says_so(ada: User, fullness: float, warned: bool) -> None:
    shown = wording.summary(ada, MemoryView([], 100, "a" * 64, "a" * 64, [], [], fullness, [], 10))
    assert ("crowded out" in shown) == warned
    assert f"{fullness:.0%} of it in use" in shown
