"""What a page of another site sends is refused before anything is done with it."""

from __future__ import annotations

import gradio as gr
import httpx
import pytest

from app.api import build_api
from app.same_site import is_from_elsewhere
from app.service import Service
from storage.records import User
from storage.store import Store

EVIL = "https://evil.example"
FROM_ELSEWHERE = [
    {"sec-fetch-site": "cross-site", "origin": EVIL},
    {"sec-fetch-site": "same-site", "origin": "https://other.hf.space"},
    {"origin": EVIL},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
def test_no_other_page_enters_a_name(page: gr.Blocks, store: Store, headers: dict[str, str]) -> None:
    fn = next(fn for fn in page.fns.values() if fn.name == "enter")
    ask = {"data": [None, 1, "Ada", "", ""], "fn_index": fn._id, "session_hash": "evil"}
    for path in ("queue/join", "run/predict", f"api/{fn.api_name}"):
        answer = httpx.post(f"{page.local_url}gradio_api/{path}", json=ask, headers=headers)
        assert (answer.status_code, "another site" in answer.text) == (403, True)
    assert store.list_people() == []


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "same-origin", "origin": "https://proxied.example"}])
def test_the_page_itself_does(page: gr.Blocks, store: Store, headers: dict[str, str]) -> None:
    fn = next(fn for fn in page.fns.values() if fn.name == "enter")
    own = headers or {"origin": page.local_url.rstrip("/")}
    ask = {"data": [None, 1, "Ada", "", ""], "fn_index": fn._id, "session_hash": "tab"}
    httpx.post(f"{page.local_url}gradio_api/queue/join", json=ask, headers=own).raise_for_status()
    with httpx.stream("GET", f"{page.local_url}gradio_api/queue/data?session_hash=tab") as stream:
        assert any("Message as Ada" in line for line in stream.iter_lines())
    assert [person.user.name for person in store.list_people()] == ["Ada"]


def test_behind_a_proxy_the_host_that_browsers_ask_for_counts() -> None:
    headers = {"host": "127.0.0.1:7860", "origin": "http://chat.lan"}
    assert is_from_elsewhere(headers)
    assert not is_from_elsewhere(headers | {"x-forwarded-host": "chat.lan"})


def test_a_program_is_no_page() -> None:
    assert not is_from_elsewhere({"host": "127.0.0.1:7860"})


def test_a_page_elsewhere_may_use_the_api_with_a_key(page: gr.Blocks, service: Service, ada: User) -> None:
    page.app.mount("/v1", build_api(service))
    key = service.accounts.issue_key(ada.id, "test")
    headers = {"authorization": f"Bearer {key}", "sec-fetch-site": "cross-site", "origin": EVIL}
    ask = {"model": "fake", "messages": [{"role": "user", "content": "I am Ada"}]}
    assert httpx.post(f"{page.local_url}v1/chat/completions", json=ask, headers=headers).status_code == 200
