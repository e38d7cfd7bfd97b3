"""Gradio's own client, as it is: a key opens its owner's memory and nothing else, and no other event can be called."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from app.service import Service
from storage.records import User
from storage.store import Store
from tests.app.test_strength import breaking
from tests.fakes import FakeEngine


@pytest.fixture
def client(page: gr.Blocks) -> Iterator[Client]:
    made = Client(page.local_url, verbose=False, analytics_enabled=False)
    yield made
    made.close()


def test_it_chats_with_the_memory_of_the_keys_owner_alone(
    client: Client, service: Service, store: Store, ada: User, bob: User
) -> None:
    keys = [service.accounts.issue_key(user.id, "test") for user in (ada, bob)]
    reply, conversation = client.predict("I am Ada", keys[0], api_name="/chat")
    assert reply == "I know nothing."
    assert client.predict("Who am I?", keys[0], conversation, api_name="/chat")[1] == conversation
    assert client.predict("Who am I?", keys[0], api_name="/chat")[0] == "I know ada."
    assert client.predict("Who am I?", keys[1], api_name="/chat")[0] == "I know nothing."
    assert len(store.held_turns(ada.id)) == 3
    with pytest.raises(AppError, match="no conversation"):
        client.predict("Go on", keys[1], conversation, api_name="/chat")


@pytest.mark.parametrize("key", ["", "imprint-0000", "Ada"])
def test_without_a_key_nothing_is_said(client: Client, store: Store, ada: User, key: str) -> None:
    with pytest.raises(AppError, match="This key opens nothing"):
        client.predict("I am Ada", key, api_name="/chat")
    assert not store.unfolded_turns() and not store.held_turns(ada.id)


def test_what_cannot_be_sent_is_one_sentence(client: Client, service: Service, ada: User) -> None:
    with pytest.raises(AppError, match="The message is empty; write something first"):
        client.predict("  ", service.accounts.issue_key(ada.id, "test"), api_name="/chat")


@pytest.mark.parametrize("given", [(5, "key", 0), ("Hello", None, 0), ("Hello", "key", "x"), ("Hello", "key", 2**63)])
def test_what_is_no_text_or_number_is_one_sentence(client: Client, given: tuple[object, ...]) -> None:
    with pytest.raises(AppError, match="have to be texts, and the conversation a number"):
        client.predict(*given, api_name="/chat")


def test_a_reply_that_fails_on_its_way_is_no_success(
    client: Client, service: Service, engine: FakeEngine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "reply", breaking)
    with pytest.raises(AppError, match="does not answer"):
        client.predict("Hello", service.accounts.issue_key(ada.id, "test"), api_name="/chat")


def test_nothing_else_is_offered(client: Client) -> None:
    described = client.view_api(return_format="dict")
    assert isinstance(described, dict)
    assert list(described["named_endpoints"]) == ["/chat"] and not described["unnamed_endpoints"]
    for name in ("/send", "/enter", "/forget"):
        with pytest.raises(ValueError, match="Cannot find a function"):
            client.predict(api_name=name)
