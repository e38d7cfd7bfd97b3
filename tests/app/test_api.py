"""The API, with the official client over real HTTP: whose memory it is, what is stored, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import gradio as gr
import httpx
import openai
import pytest
from fastapi import FastAPI
from openai import OpenAI
from starlette.testclient import TestClient

from app.api import build_api
from app.api_errors import BODY_BYTES, FILE_BYTES
from app.health import health
from app.service import Service
from storage.errors import DatabaseUnavailable, NotFound
from storage.records import Manner, User
from storage.store import Store
from tests.app.conftest import say
from tests.app.test_strength import breaking
from tests.fakes import FakeEngine

HELLO = [{"role": "user", "content": "Hello"}]
WHO = [{"role": "user", "content": "Who am I?"}]


@pytest.fixture
def address(page: gr.Blocks, service: Service) -> str:
    page.app.mount("/v1", build_api(service))
    return page.local_url.rstrip("/") + "/v1"


@pytest.fixture
def ada_client(address: str, service: Service, ada: User) -> Iterator[OpenAI]:
    with OpenAI(base_url=address, api_key=service.accounts.issue_key(ada.id, "test"), max_retries=0) as client:
        yield client


@pytest.fixture
def bob_client(address: str, service: Service, bob: User) -> Iterator[OpenAI]:
    with OpenAI(base_url=address, api_key=service.accounts.issue_key(bob.id, "test"), max_retries=0) as client:
        yield client


def ask(client: OpenAI, messages: list[Any], **more: Any) -> Any:
    return client.chat.completions.create(model="any", messages=messages, **more)


def text_of(completion: Any) -> str:
    return str(completion.choices[0].message.content)


def test_a_reply_comes_from_the_memory_of_the_keys_owner_alone(
    ada_client: OpenAI, bob_client: OpenAI, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada from Vienna")
    completion = ask(ada_client, WHO)
    assert text_of(completion) == "I know ada vienna."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens == 4
    assert text_of(ask(bob_client, WHO)) == "I know nothing."


def test_what_is_said_is_folded_and_a_conversation_can_be_gone_on_with(
    ada_client: OpenAI, store: Store, service: Service, ada: User
) -> None:
    first = ask(ada_client, [{"role": "user", "content": "I am Ada"}])
    here = first.imprint["conversation"]
    assert first.imprint == {"conversation": here, "turn": 1, "turns_held": 1}
    ask(ada_client, HELLO, extra_body={"memory": {"conversation": here}})
    assert [turn.user_text for turn in service.load_turns(ada.id, here)] == ["I am Ada", "Hello"]
    assert text_of(ask(ada_client, WHO)) == "I know ada."
    assert len(store.held_turns(ada.id)) == 3


def test_a_conversation_goes_on_after_its_own_turns_and_as_it_was_answered(
    ada_client: OpenAI, engine: FakeEngine, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada")
    first = service.send(ada.id, None, "Who am I?", Manner(0.25, "Be kind."))
    first.remembered.result(timeout=10)
    here = {"conversation": first.turn.conversation_id}
    kind, question, reply = ("system", "Be kind."), ("user", "Who am I?"), ("assistant", "I know nothing.")
    assert text_of(ask(ada_client, HELLO, extra_body={"memory": here})) == "I know nothing."
    assert [tuple(message) for message in engine.prompts[-1]] == [kind, question, reply, ("user", "Hello")]
    assert service.manner(ada.id, here["conversation"]).strength == 0.25
    short, asked = {"role": "system", "content": "Be short."}, {"role": "assistant", "content": "Hi."}
    ask(ada_client, [short, *WHO], extra_body={"memory": here})
    assert [tuple(message) for message in engine.prompts[-1]][:3] == [("system", "Be short."), question, reply]
    ask(ada_client, [*HELLO, asked, *WHO], extra_body={"memory": here})
    assert [tuple(message) for message in engine.prompts[-1]] == [
        kind,
        ("user", "Hello"),
        ("assistant", "Hi."),
        question,
    ]
    assert text_of(ask(ada_client, WHO, extra_body={"memory": here | {"strength": 1}})) == "I know ada."
    assert service.manner(ada.id, here["conversation"]).strength == 1


@pytest.mark.parametrize("mode", ["read", "off"])
def test_where_nothing_is_kept_no_conversation_goes_on(
    ada_client: OpenAI, service: Service, ada: User, mode: str
) -> None:
    reply = service.send(ada.id, None, "I am Ada")
    reply.remembered.result(timeout=10)
    with pytest.raises(openai.BadRequestError, match="no conversation goes on"):
        ask(ada_client, HELLO, extra_body={"memory": {"mode": mode, "conversation": reply.turn.conversation_id}})


def test_a_stream_gives_the_same_in_pieces(ada_client: OpenAI, store: Store, ada: User) -> None:
    chunks = list(ask(ada_client, HELLO, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(piece for piece in pieces if piece) == "I know nothing."
    assert len([piece for piece in pieces if piece]) == 4
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 3
    assert store.held_turns(ada.id)[0].reply_text == "I know nothing."


def test_the_prompt_is_what_the_program_sends_and_no_more(
    ada_client: OpenAI, engine: FakeEngine, service: Service, ada: User
) -> None:
    say(service, ada, "I am Ada")
    sent = [{"role": "system", "content": "Be kind."}, *HELLO, {"role": "assistant", "content": "Hi."}, *WHO]
    ask(ada_client, sent)
    assert [tuple(message) for message in engine.prompts[-1]] == [
        (message["role"], message["content"]) for message in sent
    ]


def test_what_chooses_words_reaches_the_engine(
    ada_client: OpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, reply = [], engine.reply

    def noted(adapter: Any, messages: Any, sampling: Any, stop: Any) -> Any:
        drawn.append(sampling)
        return reply(adapter, messages, sampling, stop)

    monkeypatch.setattr(engine, "reply", noted)
    completion = ask(ada_client, HELLO, max_tokens=3, temperature=0.5, top_p=0.9, seed=7, stop="x")
    assert (drawn[0].max_tokens, drawn[0].temperature, drawn[0].top_p) == (3, 0.5, 0.9)
    assert (drawn[0].seed, drawn[0].stop) == (7, ("x",))
    assert completion.choices[0].finish_reason == "length"


@pytest.mark.parametrize(("memory", "known"), [({"mode": "read"}, "ada"), ({"mode": "off"}, "nothing")])
def test_a_memory_is_not_written_unless_it_may_be(
    ada_client: OpenAI, store: Store, service: Service, ada: User, memory: dict[str, str], known: str
) -> None:
    say(service, ada, "I am Ada")
    before = store.load_memory(ada.id)
    completion = ask(ada_client, [{"role": "user", "content": "I drink tea"}], extra_body={"memory": memory})
    assert text_of(completion) == f"I know {known}."
    assert completion.imprint is None
    assert (store.load_memory(ada.id), len(store.held_turns(ada.id))) == (before, 1)


def test_a_memory_is_read_as_strongly_as_asked_for(ada_client: OpenAI, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    assert text_of(ask(ada_client, WHO, extra_body={"memory": {"strength": 0.1}})) == "I know nothing."


def test_the_model_that_runs_is_listed(ada_client: OpenAI) -> None:
    assert [model.id for model in ada_client.models.list()] == ["fake"]


def test_the_ledger_is_listed_read_out_taken_along_and_forgotten(
    address: str, service: Service, store: Store, ada: User
) -> None:
    head = {"Authorization": f"Bearer {service.accounts.issue_key(ada.id, 'test')}"}
    say(service, ada, "I am Ada")
    say(service, ada, "I drink tea")
    with httpx.Client(base_url=address, headers=head) as client:
        assert [turn["user_text"] for turn in client.get("/memory").json()] == ["I am Ada", "I drink tea"]
        assert len(client.get("/memory/readout").json()) > 40
        assert client.get("/memory/export").content == service.export_memory(ada.id)
        assert client.delete("/memory/turns/1").json()["turns"] == 1
        assert client.delete("/memory").json()["turns"] == 1
    assert store.held_turns(ada.id) == []


def test_nothing_of_another_person_can_be_named(
    address: str, bob_client: OpenAI, service: Service, store: Store, ada: User, bob: User
) -> None:
    reply = service.send(ada.id, None, "I am Ada")
    reply.remembered.result(timeout=10)
    with pytest.raises(openai.NotFoundError, match="no conversation"):
        ask(bob_client, HELLO, extra_body={"memory": {"conversation": reply.turn.conversation_id}})
    head = {"Authorization": f"Bearer {service.accounts.issue_key(bob.id, 'test')}"}
    assert httpx.delete(f"{address}/memory/turns/{reply.turn.id}", headers=head).status_code == 404
    assert httpx.get(f"{address}/memory", headers=head).json() == []
    assert len(store.held_turns(ada.id)) == 1


@pytest.mark.parametrize("key", ["", "imprint-wrong", "\u00e9"])
def test_without_a_key_that_opens_something_nothing_is_done(address: str, store: Store, key: str) -> None:
    head = {"Authorization": f"Bearer {key}".encode("latin-1")} if key else {}
    for method, path in (
        *(("GET", "/models"), ("GET", "/memory"), ("GET", "/memory/readout"), ("GET", "/memory/export")),
        *(
            ("DELETE", "/memory"),
            ("DELETE", "/account"),
            ("GET", "/memory/turns/1"),
            ("DELETE", "/memory/turns/1"),
            ("POST", "/chat/completions"),
        ),
    ):
        answer = httpx.request(method, address + path, headers=head, json={"messages": HELLO})
        assert answer.status_code == 401, path
        assert "key add" in answer.json()["error"]["message"]
    assert store.unfolded_turns() == []


@pytest.mark.parametrize("body", [b"{", b"\xff", b" " * (BODY_BYTES + 1)])
def test_a_stranger_is_told_nothing_about_a_body(service: Service, body: bytes) -> None:
    client = TestClient(build_api(service))
    for method, path in (("POST", "/chat/completions"), ("PATCH", "/memory/turns/1"), ("POST", "/memory/import")):
        answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, "key add" in answer.text) == (401, True)


def test_a_key_that_was_revoked_opens_nothing(
    ada_client: OpenAI, bob_client: OpenAI, service: Service, ada: User, bob: User
) -> None:
    [key] = service.accounts.list_keys(ada.id)
    with pytest.raises(NotFound):
        service.accounts.revoke_key(bob.id, key.id)
    assert text_of(ask(ada_client, HELLO))
    service.accounts.revoke_key(ada.id, key.id)
    with pytest.raises(openai.AuthenticationError):
        ask(ada_client, HELLO)


def test_a_key_is_nowhere_in_the_database(service: Service, ada: User, settings: Any) -> None:
    token = service.accounts.issue_key(ada.id, "test")
    folder = Path(settings.database_url.removeprefix("sqlite:///")).parent
    assert [path.name for path in folder.iterdir() if token.encode() in path.read_bytes()] == []
    assert service.accounts.owner_of_key(token) == ada


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "user's only"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty"),
        ({"messages": [{"role": "user", "content": "a\ud800"}]}, "half of a pair"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "content"),
        ({"messages": HELLO, "n": 2}, "n"),
        ({"messages": HELLO, "temperature": 9}, "temperature"),
        ({"messages": HELLO, "max_tokens": -1}, "max_tokens"),
        ({"messages": HELLO, "seed": 2**64}, "seed"),
        ({"messages": HELLO, "memory": {"mode": "maybe"}}, "mode"),
        ({"messages": HELLO, "memory": {"strength": 2}}, "strength"),
        ({"messages": HELLO, "memory": {"conversation": 10**30}}, ""),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_changes_nothing(
    address: str, service: Service, store: Store, ada: User, body: dict[str, Any], said: str
) -> None:
    head = {"Authorization": f"Bearer {service.accounts.issue_key(ada.id, 'test')}", "Content-Type": "application/json"}
    answer = httpx.post(f"{address}/chat/completions", headers=head, content=json.dumps(body))
    assert 400 <= answer.status_code < 500
    error = answer.json()["error"]
    assert said in error["message"] and "\n" not in error["message"]
    assert store.unfolded_turns() == [] == service.list_conversations(ada.id)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[1]", b"null", b'{"messages": ' + b"[" * 5000])
def test_a_body_that_is_no_request_is_one_sentence(
    address: str, service: Service, ada: User, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head = {"Authorization": f"Bearer {service.accounts.issue_key(ada.id, 'test')}", "Content-Type": "application/json"}
    answer = httpx.post(f"{address}/chat/completions", headers=head, content=body)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]
    assert caplog.records == []  # anybody could fill the log with it


def test_what_is_no_json_is_called_so(service: Service, ada: User) -> None:
    head = head_of(service, ada) | {"Content-Type": "application/json"}
    answer = TestClient(build_api(service)).patch("/memory/turns/1", headers=head, content=b'{"text"')
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "The request's body is not JSON.")


def test_a_body_beyond_its_size_is_refused_with_and_without_saying_so(
    address: str, service: Service, ada: User
) -> None:
    head = {"Authorization": f"Bearer {service.accounts.issue_key(ada.id, 'test')}", "Content-Type": "application/json"}
    large = b" " * (BODY_BYTES + 1)
    for content in (large, iter([large[: BODY_BYTES // 2]] * 3)):
        answer = httpx.post(f"{address}/chat/completions", headers=head, content=content)
        assert answer.status_code == 413


def head_of(service: Service, owner: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {service.accounts.issue_key(owner.id, 'test')}"}


def test_a_turn_is_pinned_and_corrected(address: str, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    url, head = f"{address}/memory/turns/1", head_of(service, ada)
    assert httpx.patch(url, headers=head, json={"pinned": True}).json()["pinned"] is True
    changed = httpx.patch(url, headers=head, json={"text": "I am Bob"}).json()
    assert (changed["user_text"], changed["reply_text"], changed["pinned"]) == ("I am Bob", "I know nothing.", True)
    assert httpx.patch(url, headers=head, json={"text": " "}).status_code == 400
    assert httpx.get(url, headers=head).json() == changed | {"norms": service.weigh(ada.id, 1)}
    assert service.verify(ada.id).is_clean


def test_an_account_is_deleted_with_its_key(address: str, service: Service, store: Store, ada: User, bob: User) -> None:
    say(service, ada, "I am Ada")
    say(service, bob, "I am Bob")
    head = head_of(service, ada)
    assert httpx.delete(f"{address}/account", headers=head).json() == {"deleted": True}
    assert store.find_user("Ada") is None
    assert httpx.get(f"{address}/memory", headers=head).status_code == 401
    assert len(store.held_turns(bob.id)) == 1


def test_a_memory_leaves_and_is_merged_with_another(
    address: str, service: Service, store: Store, ada: User, bob: User
) -> None:
    say(service, ada, "I am Ada")
    say(service, bob, "I drink tea")
    file = httpx.get(f"{address}/memory/export", headers=head_of(service, ada)).content
    url, head = f"{address}/memory/import", head_of(service, bob)
    assert httpx.post(url, headers=head, content=file).status_code == 409
    assert httpx.post(url, headers=head, params={"merge": True}, content=file).json() == {"turns": 1}
    assert [turn.user_text for turn in store.held_turns(bob.id)] == ["I am Ada", "I drink tea"]
    assert httpx.post(url, headers=head, params={"merge": True}, content=file[:-9]).status_code == 400
    too_large = httpx.post(url, headers=head, content=b" " * (FILE_BYTES + 1))
    assert too_large.status_code == 413


def test_what_changed_since_a_turn_is_listed(address: str, service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    changes = httpx.get(f"{address}/memory/changes", headers=head_of(service, ada), params={"since": 1})
    assert (changes.status_code, changes.json()) == (200, [])


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/memory/turns/1"), ("GET", "/memory/turns/1"), ("GET", "/memory/changes?since=1")]
)
def test_nobody_reaches_anothers_turn(
    address: str, service: Service, store: Store, ada: User, bob: User, method: str, path: str
) -> None:
    say(service, ada, "I am Ada")
    before = store.held_turns(ada.id), store.load_memory(ada.id)
    answer = httpx.request(method, address + path, headers=head_of(service, bob), json={"pinned": True, "text": "x"})
    assert answer.status_code == 404
    assert (store.held_turns(ada.id), store.load_memory(ada.id)) == before


def test_many_programs_at_once_never_mix(address: str, service: Service, store: Store) -> None:
    words = ("vienna", "oslo", "tea", "red", "cat", "dog")
    replies: dict[str, list[str]] = {}

    def talk(word: str) -> None:
        owner = store.ensure_user(word)
        with OpenAI(base_url=address, api_key=service.accounts.issue_key(owner.id, "test"), max_retries=0) as client:
            ask(client, [{"role": "user", "content": f"I like {word}"}])
            replies[word] = [text_of(ask(client, HELLO)) for _ in range(3)]

    threads = [threading.Thread(target=talk, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == {word: [f"I know {word}."] * 3 for word in words}


@pytest.mark.parametrize("mode", ["on", "read"])
def test_a_reply_that_fails_on_its_way_is_no_success(
    ada_client: OpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(engine, "reply", breaking)
    memory = {"memory": {"mode": mode}}
    with pytest.raises(openai.InternalServerError, match="does not answer") as refused:
        ask(ada_client, HELLO, extra_body=memory)
    assert refused.value.status_code == 503
    pieces = ask(ada_client, HELLO, extra_body=memory, stream=True)
    assert [next(pieces).choices[0].delta.content for _ in range(2)] == ["", "I"]
    with pytest.raises(openai.APIError, match="does not answer"):
        next(pieces)


def test_the_description_names_every_route_and_loads_nothing_from_elsewhere(address: str) -> None:
    described = httpx.get(f"{address}/openapi.json").json()
    assert set(described["paths"]) == {
        *("/models", "/chat/completions", "/memory", "/memory/readout", "/memory/export", "/memory/turns/{turn_id}"),
        *("/memory/import", "/memory/changes", "/account"),
    }
    for path in ("/docs", "/redoc"):
        assert httpx.get(address + path).status_code == 404
    for path, kind in (("/memory/export", "application/octet-stream"), ("/chat/completions", "text/event-stream")):
        [operation] = described["paths"][path].values()
        assert kind in operation["responses"]["200"]["content"]
        assert {"400", "401", "404", "409", "413", "429", "503"} < set(operation["responses"])


def test_whoever_stops_reading_stops_the_reply(
    ada_client: OpenAI, engine: FakeEngine, store: Store, service: Service, ada: User
) -> None:
    engine.pace = 0.3
    with ask(ada_client, HELLO, stream=True) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    service.recover()  # returns once the turn is folded
    [turn] = store.held_turns(ada.id)
    assert turn.reply_text and turn.reply_text != "I know nothing."


def test_slow_senders_keep_nobody_waiting(ada_client: OpenAI, service: Service, bob: User) -> None:
    host, port = ada_client.base_url.host, ada_client.base_url.port
    assert port
    start = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {service.accounts.issue_key(bob.id, 'slow')}\r\nContent-Length: 1000\r\n\r\n{{"
    )
    with ExitStack() as slow:
        for _ in range(100):
            slow.enter_context(socket.create_connection((host, port))).sendall(start.encode())
        assert text_of(ask(ada_client, HELLO)) == "I know nothing."


def test_it_is_known_to_live_also_where_every_thread_is_busy(service: Service) -> None:
    app = FastAPI()
    app.include_router(health(service))

    async def ask_it() -> int:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        async with limiter, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            with anyio.fail_after(10):
                return (await client.get("/healthz")).status_code

    assert anyio.run(ask_it) == 200


def test_who_watches_is_told_whether_it_lives_and_can_answer(
    page: gr.Blocks, service: Service, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.app.include_router(health(service))
    where = page.local_url.rstrip("/")
    assert httpx.get(where + "/healthz").json() == {"status": "ok"}
    say(service, ada, "I am Ada")
    numbers = httpx.get(where + "/metrics").text
    assert "imprint_fold_seconds_count 1.0" in numbers and "imprint_first_piece_seconds_count 1.0" in numbers
    assert "imprint_replies_running 0.0" in numbers and "Ada" not in numbers
    assert httpx.get(where + "/readyz").status_code == 200
    monkeypatch.setattr(Service, "is_ready", property(lambda _: False))
    waiting = httpx.get(where + "/readyz")
    assert (waiting.status_code, waiting.json()["status"]) == (503, "the model is loading")
    assert httpx.get(where + "/healthz").status_code == 200

    def broken(_: Service) -> None:
        raise DatabaseUnavailable("/secret/place is locked")

    monkeypatch.setattr(Service, "check_database", broken)
    assert httpx.get(where + "/readyz").json() == {"status": "DatabaseUnavailable"}


def test_the_example_of_the_readme_works(
    address: str, service: Service, ada: User, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    [example] = [block.removeprefix("python\n") for block in page.split("```") if block.startswith("python\n")]
    here = example.replace("http://127.0.0.1:7860/v1", address).replace(
        "imprint-...", service.accounts.issue_key(ada.id, "test")
    )
    exec(here, {})
    assert capsys.readouterr().out == "I know nothing.\nI know ada vienna.\n"


def test_an_unexpected_error_shows_and_logs_its_kind_but_never_what_was_written(
    ada_client: OpenAI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(messages: Any) -> int:
        raise RuntimeError(f"secret {messages}")

    monkeypatch.setattr(engine, "count_tokens", broken)
    with pytest.raises(openai.InternalServerError) as refused:
        ask(ada_client, HELLO)
    assert "RuntimeError" in str(refused.value) and "RuntimeError" in caplog.text
    assert "Hello" not in str(refused.value) + caplog.text
