"""People whom Hugging Face knows come in by that, on a Space alone, and nobody else by their name."""

from __future__ import annotations

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import gradio as gr
import httpx
import pytest
from itsdangerous import TimestampSigner

from app.accounts import Accounts
from app.errors import BadPassphrase, NameMissing
from app.guards import SAME
from app.handlers import Handlers
from app.service import Service
from app.tab import Tab
from app.ui import LEAVE_HUB, build_page, start_page
from storage.store import Store
from tests.app.conftest import free_port

SECRET = "only-the-space-knows"
PROFILE = {"sub": "64f1", "name": "Ada L", "preferred_username": "ada", "profile": "", "picture": ""}


@pytest.fixture
def door(store: Store) -> Accounts:
    return Accounts(store, required=True)


@pytest.fixture
def space(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[gr.Blocks]:
    """The page as a Space serves it."""
    monkeypatch.setattr("gradio.oauth.get_space", lambda: "ada/imprint")
    monkeypatch.setenv("SPACE_ID", "ada/imprint")
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "ada")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    given = {"CLIENT_ID": "id", "CLIENT_SECRET": SECRET, "SCOPES": "openid profile"}
    for name, value in given.items():
        monkeypatch.setenv(f"OAUTH_{name}", value)
        monkeypatch.setattr(f"gradio.oauth.OAUTH_{name}", value)
    monkeypatch.setattr("gradio.oauth.OPENID_PROVIDER_URL", "https://example.invalid")
    page = build_page(Handlers(service))
    start_page(page, "127.0.0.1", free_port())
    yield page
    page.close(verbose=False)


def cookie(secret: str) -> str:
    """The session that Gradio keeps in a browser once Hugging Face has said who is there."""
    said = {"oauth_info": {"userinfo": PROFILE, "expires_at": time.time() + 100, "access_token": ""}}
    signer = TimestampSigner(hashlib.sha256(f"{secret}-v4".encode()).hexdigest())
    return signer.sign(b64encode(json.dumps(said).encode())).decode()


def resumed(page: gr.Blocks, secret: str) -> Any:
    [fn] = [fn for fn in page.fns.values() if fn.name == "resume"]
    with httpx.Client(base_url=f"{page.local_url}gradio_api", cookies={"session": cookie(secret)}) as client:
        ask = {"data": [None, 0, ""], "fn_index": fn._id, "session_hash": "tab"}
        client.post("/queue/join", json=ask).raise_for_status()
        with client.stream("GET", "/queue/data", params={"session_hash": "tab"}) as stream:
            lines = [json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:")]
    return lines


def test_the_same_account_is_the_same_person_whatever_its_name(door: Accounts) -> None:
    ada, session = door.sign_in_from_hub("64f1", "ada", False)
    again, _ = door.sign_in_from_hub("64f1", "ada-renamed", False)
    other, _ = door.sign_in_from_hub("77aa", "ada", False)
    assert (ada, ada.name, other.name) == (again, "ada", "ada 77aa")
    assert door.owner_of_session(session) == ada
    door.close_session(session)
    assert door.owner_of_session(session) is None


def test_nobody_gets_in_by_the_name_alone(door: Accounts) -> None:
    ada, session = door.sign_in_from_hub("64f1", "ada", False)
    for passphrase in ("", "!hub", "correct horse"):
        with pytest.raises(BadPassphrase):
            door.sign_in(ada.name, passphrase, session)


def test_a_name_that_somebody_has_is_not_taken_over(door: Accounts, store: Store) -> None:
    local = door.sign_in("ada", "correct horse")[0]
    hub, _ = door.sign_in_from_hub("64f1", "ada", False)
    assert hub.id != local.id
    assert door.sign_in("ada", "correct horse")[0] == local
    assert not hub.is_admin


def test_the_owner_of_the_space_is_admin(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "ada")
    handlers = Handlers(service)
    for name, subject in (("ada", "1"), ("bob", "2")):
        profile = gr.OAuthProfile(PROFILE | {"sub": subject, "preferred_username": name})
        _, visitor, *_ = handlers.resume(Tab(), 0, "", profile)
        assert visitor.owner().is_admin == (name == "ada")


def test_a_page_is_entered_by_what_hugging_face_said_and_by_no_forgery(space: gr.Blocks, store: Store) -> None:
    resumed(space, "a guess")
    assert store.list_people() == []
    assert "Message as ada" in json.dumps(resumed(space, SECRET))
    [person] = store.list_people()
    assert (person.user.name, person.opens_with, person.user.is_admin) == ("ada", "hub", True)


def test_without_their_account_nobody_is_who_came_by_it(service: Service) -> None:
    handlers = Handlers(service)
    session, visitor, *_ = handlers.resume(Tab(), 0, "", gr.OAuthProfile(PROFILE))
    assert handlers.resume(Tab(), 0, session) == (SAME,) * 9
    assert service.accounts.owner_of_session(session) is None
    with pytest.raises(NameMissing):
        visitor.owner()


@pytest.mark.parametrize("handler", ["leave", "delete_account"])
def test_signing_out_here_signs_out_of_hugging_faces_word_too(space: gr.Blocks, handler: str) -> None:
    [left] = [fn for fn in space.fns.values() if fn.name == handler]
    assert any(fn.trigger_after == left._id and fn.js == LEAVE_HUB for fn in space.fns.values())
    answer = httpx.get(f"{space.local_url}logout?_target_url=/?a=b", cookies={"session": cookie(SECRET)})
    assert (answer.status_code, answer.headers["location"]) == (307, "/?a=b")
    assert "session=null" in answer.headers["set-cookie"]


def test_elsewhere_nobody_is_sent_to_sign_out_of_it(page: gr.Blocks) -> None:
    assert not [fn for fn in page.fns.values() if fn.js == LEAVE_HUB]


def test_elsewhere_nobody_is_asked_for_an_account(page: gr.Blocks) -> None:
    assert not [block for block in page.blocks.values() if isinstance(block, gr.LoginButton)]


def test_a_reload_goes_on_with_its_session_and_an_account_wins_over_an_older_name(service: Service) -> None:
    handlers, profile = Handlers(service), gr.OAuthProfile(PROFILE)
    older = service.accounts.sign_in("Bob", "")[1]
    session, visitor, *_ = handlers.resume(Tab(), 0, older, profile)
    assert (visitor.owner().name, session == older) == ("ada", False)
    assert handlers.resume(Tab(), 0, session, profile)[0] == session
