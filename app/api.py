"""The chat for programs: OpenAI's chat completions, with a memory behind the key, and the verbs about that memory.

A face of the service, no rules. Whose memory is read and written is the key's owner, whatever a request says.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request
from fastapi.concurrency import iterate_in_threadpool, run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, Field

from app.api_errors import BEARER, IMPORT, REFUSALS, refusing, told
from app.asking import Given
from app.errors import BadMessage
from app.readout import Answer
from app.reply import Reply, Stream, TemporaryChat
from app.service import Service
from storage.records import Manner, User

KEY = Depends(BEARER)
Questions = Annotated[list[str] | None, Query(max_length=50)]
FILE = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
EVENTS: dict[str, Any] = {"content": {"text/event-stream": {}}}


class Part(BaseModel):
    """A piece of a message; only text can be read."""

    type: Literal["text"]
    text: str


class Said(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] = Field(min_length=1)

    @property
    def text(self) -> str:
        """All of it as one text."""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class MemoryUse(BaseModel):
    """How the memory takes part: `on` reads and writes it, `read` leaves nothing anywhere, `off` does neither.

    A conversation goes on as strongly as before unless a strength is given, and after its own last turns unless the
    request brings others.
    """

    mode: Literal["on", "read", "off"] = "on"
    strength: float | None = None
    conversation: int | None = None


class Change(BaseModel):
    """What is to be different about a turn."""

    text: str | None = None
    pinned: bool | None = None


class Completion(BaseModel):
    """What is asked; what OpenAI has besides is passed over."""

    model: str = ""
    messages: list[Said] = Field(min_length=1)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Literal[1] = 1
    memory: MemoryUse = MemoryUse()

    def given(self) -> Given:
        """What goes before the last message, and how words are chosen."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        wanted = {
            "max_tokens": most,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": stop or None,
        }
        recent = [("system" if one.role == "developer" else one.role, one.text) for one in self.messages[:-1]]
        return Given(recent, {name: value for name, value in wanted.items() if value is not None})


def build_api(service: Service) -> FastAPI:
    """What is served below /v1, with its description at /v1/openapi.json; no page that loads scripts from elsewhere."""
    app = FastAPI(title="Imprint", docs_url=None, redoc_url=None, responses=REFUSALS)
    app.router.route_class = refusing(service)

    known = Depends(owner_of)
    _add_completions(app, service, known)
    _add_memory(app, service, known)
    _add_changes(app, service, known)
    return app


def owner_of(request: Request, _: HTTPAuthorizationCredentials | None = KEY) -> User:
    """The person whose key came with the request, as the route has found out; here it is described."""
    owner: User = request.state.owner
    return owner


def _add_completions(app: FastAPI, service: Service, known: Any) -> None:
    """What OpenAI has."""

    @app.get("/models", tags=["OpenAI"])
    def models(owner: User = known) -> dict[str, Any]:
        """The one model that runs."""
        return {"object": "list", "data": [{"id": service.model_name, "object": "model", "owned_by": "imprint"}]}

    @app.post("/chat/completions", tags=["OpenAI"], responses={200: EVENTS})
    def complete(asked: Completion, owner: User = known) -> Any:
        """A reply by the owner's memory, which remembers the last message and the reply."""
        stream = begin(service, owner, asked)
        head = {"id": f"chatcmpl-{time.time_ns():x}", "created": int(time.time()), "model": service.model_name}
        if asked.stream:
            sent = stopping(told(events(service, asked, stream, head)), stream)
            return StreamingResponse(sent, media_type="text/event-stream")
        text = "".join(stream)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        return {
            **head,
            "object": "chat.completion",
            "choices": [choice | {"finish_reason": finish_of(service, asked, text)}],
            "usage": usage_of(service, stream, text),
            "imprint": held_by(stream),
        }


def _add_memory(app: FastAPI, service: Service, known: Any) -> None:
    """What a memory holds and knows, and how it travels."""

    @app.get("/memory", tags=["memory"])
    def turns(owner: User = known) -> list[dict[str, Any]]:
        """The ledger: every turn held, oldest first."""
        return [asdict(turn) for turn in service.held_turns(owner.id)]

    @app.get("/memory/readout", tags=["memory"])
    def readout(ask: Questions = None, owner: User = known) -> list[dict[str, Any]]:
        """What the weights alone answer to a list of questions, or to those asked, the surest first."""
        return [one.fields() for one in service.read_out(owner.id, ask or ())]

    @app.get("/memory/export", tags=["memory"], response_class=Response, responses={200: FILE})
    def export(texts: bool = True, owner: User = known) -> Response:
        """State, ledger, texts and proof as one file."""
        return Response(service.export_memory(owner.id, texts), media_type="application/octet-stream")

    @app.post(IMPORT, tags=["memory"], openapi_extra={"requestBody": {"required": True, **FILE}})
    async def take_in(request: Request, merge: bool = False, owner: User = known) -> dict[str, int]:
        """Take in what export gave; with `merge` beside what is held."""
        data = await request.body()
        return {"turns": await run_in_threadpool(service.import_memory, owner.id, data, merge)}

    @app.get("/memory/changes", tags=["memory"])
    def changes(since: int, owner: User = known) -> list[dict[str, Any]]:
        """What the weights are sure of now and were not after a turn, or the other way round."""
        return [
            {"question": one.before.question, "before": _sure(one.before), "after": _sure(one.after)}
            for one in service.changes_since(owner.id, since)
        ]

    @app.get("/memory/turns/{turn_id}", tags=["memory"])
    def turn(turn_id: int, owner: User = known) -> dict[str, Any]:
        """One turn, and the norm of what it adds to each layer of the state."""
        return asdict(service.load_turn(owner.id, turn_id)) | {"norms": service.weigh(owner.id, turn_id)}


def _add_changes(app: FastAPI, service: Service, known: Any) -> None:
    """What can be done about a memory, and about all that is kept of a person."""

    @app.patch("/memory/turns/{turn_id}", tags=["memory"])
    def change(turn_id: int, asked: Change, owner: User = known) -> dict[str, Any]:
        """Pin a turn, or have it say something else; the turn as it is then."""
        if asked.text is not None:
            service.correct(owner.id, turn_id, asked.text)
        if asked.pinned is not None:
            service.pin(owner.id, turn_id, asked.pinned)
        return asdict(service.load_turn(owner.id, turn_id))

    @app.delete("/memory/turns/{turn_id}", tags=["memory"])
    def forget_turn(turn_id: int, owner: User = known) -> dict[str, Any]:
        """Forget one turn for good; the receipt."""
        return asdict(service.forget_turns(owner.id, [turn_id]))

    @app.delete("/account", tags=["memory"])
    def delete(owner: User = known) -> dict[str, bool]:
        """Delete the key's owner with all that is kept of them, the key too."""
        service.delete_account(owner.id)
        return {"deleted": True}

    @app.delete("/memory", tags=["memory"])
    def forget(owner: User = known) -> dict[str, Any]:
        """Forget everything for good; the receipt."""
        return asdict(service.forget_everything(owner.id))


def _sure(answer: Answer) -> str | None:
    return answer.text if answer.is_sure else None


def begin(service: Service, owner: User, asked: Completion) -> Stream:
    """Start the reply to the last message."""
    last, memory = asked.messages[-1], asked.memory
    if last.role != "user":
        raise BadMessage(f"The last message is the {last.role}'s; a reply can be given to a user's only.")
    if memory.mode == "on":
        manner = service.manner(owner.id, memory.conversation)
        if memory.strength is not None:
            manner = replace(manner, strength=memory.strength)
        return service.send(owner.id, memory.conversation, last.text, manner, asked.given())
    if memory.conversation is not None:
        raise BadMessage(f'In mode "{memory.mode}" nothing is kept, so no conversation goes on; leave it out.')
    strength = 0.0 if memory.mode == "off" else 1.0 if memory.strength is None else memory.strength
    return service.send_temporarily(owner.id, TemporaryChat(), last.text, Manner(strength), asked.given())


async def stopping(sent: Iterator[str], stream: Stream) -> AsyncIterator[str]:
    """Pass events on; whoever stops reading stops the reply."""
    try:
        async for event in iterate_in_threadpool(sent):
            yield event
    finally:
        stream.stop()


def events(service: Service, asked: Completion, stream: Stream, head: dict[str, Any]) -> Iterator[str]:
    """The reply as server-sent events, in OpenAI's form."""
    head = head | {"object": "chat.completion.chunk"}
    text = ""
    yield _event(head, {"role": "assistant", "content": ""})
    for piece in stream:
        text += piece
        yield _event(head, {"content": piece})
    yield _event(head | {"imprint": held_by(stream)}, {}, finish_of(service, asked, text))
    if (asked.stream_options or {}).get("include_usage"):
        yield _data(head | {"choices": [], "usage": usage_of(service, stream, text)})
    yield "data: [DONE]\n\n"


def held_by(stream: Stream) -> dict[str, int] | None:
    """Where the turn is once it is folded, so that a next message can go on there; None for what is not kept.

    Raise what the reply failed with.
    """
    if not isinstance(stream, Reply):
        stream.finished.result()
        return None
    after = stream.remembered.result()
    return {"conversation": stream.turn.conversation_id, "turn": stream.turn.id, "turns_held": after.held.turns}


def finish_of(service: Service, asked: Completion, text: str) -> str:
    """Whether the reply came to its own end, or to that of its tokens."""
    most = asked.given().sampling.get("max_tokens", service.reply_tokens)
    return "length" if service.count_tokens(text) >= most else "stop"


def usage_of(service: Service, stream: Stream, text: str) -> dict[str, int]:
    """Tokens read and written; what is in the weights costs none."""
    read, written = stream.reading.prompt_tokens, service.count_tokens(text)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _event(head: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> str:
    return _data(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
