"""Replies written by another server that holds the same base (vLLM, SGLang), to which each memory goes as a LoRA.

Folding, and everything that is asked about a reply, stays in this process. A LoRA is there, as files and in the server,
while one reply is written: the next turn changes the memory anyway, and nothing is left for forgetting to find.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import httpx

from core.chat import Message, encode
from core.checkpoint import Checkpoint
from core.decoding import Row
from core.engine import Engine
from core.errors import ServerError
from core.loras import Loras, check_folder
from core.text import BROKEN

PATIENCE = httpx.Timeout(300.0, connect=10.0)  # loading a LoRA, or the first piece behind many others, takes a while
LOOKING_SECONDS = 0.2
NOTHING_ELSE = {"repetition_penalty": 1.0, "top_k": -1, "min_p": 0.0}
"""Said in every request: a server takes what is not said from the base's generation_config.json."""

PROSE = (
    "Last weekend my sister and I went to the lake near our town. It was sunny in the morning, but in the afternoon it "
    "began to rain, so we went back home, made some hot tea and watched an old film together."
)
BLANK = f" \n{BROKEN}"
BEGINNINGS, AGREEING = 40, 0.75  # how many of them are gone on with, and the share that has to be alike


@dataclass(frozen=True)
class Server:
    """Where it is, and how its LoRAs get there: through `folder`, which both processes read.

    At most `loras` are there at once, none of a rank above `rank`, if that is given: more is cut off.
    """

    url: str
    kind: Literal["vllm", "sglang"]
    folder: Path
    loras: int = 8
    rank: int | None = None
    key: str = ""


def check_server(server: Server) -> None:
    """Raise ServerError unless it answers and its folder can be used: cheap, to be known before a base is read."""
    Client(server)
    check_folder(server.folder)


class ServedEngine(Engine):
    """An engine whose replies another server writes; raise ServerError where it cannot."""

    def __init__(self, checkpoint: Checkpoint, server: Server) -> None:
        super().__init__(replace(checkpoint, guidance=1.0))  # the server computes one row for a reply
        self._client = Client(server)
        self._check_base()
        self._loras = Loras(self.base, self._client)
        self._loras.check(self.materialise(self.empty_state()))

    def _check_base(self) -> None:
        """Raise ServerError unless the server goes on as this base does after most beginnings of a text.

        Not after all: it may compute in another number type, and then what is about equally likely changes places.
        """
        told = [Message("user", PROSE)]
        ids = encode(self.tokenizer, told, reply=False)[: self.max_prompt_tokens]
        expected = self.logits(None, told).argmax(-1)
        places = range(len(ids))[-BEGINNINGS:]
        ours = [self.tokenizer.decode(expected[i], skip_special_tokens=True) for i in places]
        theirs = self._client.next_after([ids[: i + 1] for i in places])
        # A part of a character is given in one way or another.
        alike = sum(one.strip(BLANK) == other.strip(BLANK) for one, other in zip(ours, theirs, strict=True))
        if alike < AGREEING * len(places):
            raise ServerError(
                f"The server at {self._client.server.url} holds {self._client.base_name}, which does not go on as "
                f"{self.name} does; start it with the same base."
            )

    def _stream(self, row: Row, stop: threading.Event) -> Iterator[str]:
        room = self.base.context_length - len(row.prompt)
        row = replace(row, sampling=replace(row.sampling, max_tokens=min(row.sampling.max_tokens, room)))
        if row.adapter is None:
            yield from self._client.pieces(self._client.base_name, row, stop, self._ends)
            return
        with self._loras.loaded(row.adapter) as name:
            yield from self._client.pieces(self._client.model_of(name), row, stop, self._ends)


class Client:
    """The server's protocol: the prompt goes as tokens, so that templates and control tokens are dealt with here."""

    def __init__(self, server: Server) -> None:
        self.server = server
        headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        self._prefix = "/v1" if server.kind == "vllm" else ""
        with self._translated():
            address = server.url.rstrip("/").removesuffix("/v1")  # with which others give it
            self._http = httpx.Client(base_url=address, headers=headers, timeout=PATIENCE)
            self.base_name: str = self._call("GET", "/v1/models")["data"][0]["id"]

    def model_of(self, lora: str) -> str:
        """What a completion has to ask for, to be written with this LoRA."""
        return lora if self.server.kind == "vllm" else f"{self.base_name}:{lora}"

    def load(self, name: str, folder: Path) -> None:
        """Have the server hold this LoRA."""
        self._call("POST", f"{self._prefix}/load_lora_adapter", lora_name=name, lora_path=str(folder.absolute()))

    def unload(self, name: str) -> None:
        """Have the server let go of it."""
        self._call("POST", f"{self._prefix}/unload_lora_adapter", lora_name=name)

    def next_after(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """What the bare base says next after each prompt: one token's text."""
        asked = {"model": self.base_name, "prompt": prompts, "max_tokens": 1, "temperature": 0.0, **NOTHING_ELSE}
        with self._translated():
            choices = self._call("POST", "/v1/completions", **asked)["choices"]
            texts = {choice["index"]: choice["text"] for choice in choices}
            return [texts[number] for number in range(len(prompts))]

    def pieces(self, model: str, row: Row, stop: threading.Event, ends: Collection[int]) -> Iterator[str]:
        """The reply as it is written; leaving off closes the connection, at which the server leaves off too."""
        asked = {
            **NOTHING_ELSE,
            "model": model,
            "prompt": list(row.prompt),
            "max_tokens": row.sampling.max_tokens,
            "temperature": row.sampling.temperature,
            "top_p": row.sampling.top_p,
            "seed": row.sampling.seed,
            "stop": [text for text in row.sampling.stop if text],
            "stop_token_ids": sorted(ends),
            "stream": True,
        }
        with self._translated(), self._http.stream("POST", "/v1/completions", json=asked) as answer:
            _check(answer)
            begun = False
            for piece in _texts(answer, stop):
                # A reply begins with its first letter here too; what a template leaves before it is no part of it.
                if piece := piece if begun else piece.lstrip():
                    begun = True
                    yield piece

    def _call(self, method: str, path: str, **body: Any) -> Any:
        with self._translated():
            answer = self._http.request(method, path, json=body or None)
            _check(answer)
            return answer.json() if "json" in answer.headers.get("content-type", "") else {}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            reason = str(error) or type(error).__name__
            raise ServerError(
                f"The server at {self.server.url} did not answer as vLLM or SGLang do ({reason}); see whether it runs."
            ) from error


def _texts(answer: httpx.Response, stop: threading.Event) -> Iterator[str]:
    """What a stream of completions says, piece by piece, up to its end or `stop`."""
    with _hung_up_on(stop, answer):
        try:
            for line in answer.iter_lines():
                data = line.removeprefix("data:").strip()
                if data == "[DONE]" or stop.is_set():
                    return
                for choice in json.loads(data)["choices"] if data else ():
                    yield choice["text"]
        except httpx.HTTPError:
            if not stop.is_set():
                raise


@contextmanager
def _hung_up_on(stop: threading.Event, answer: httpx.Response) -> Iterator[None]:
    """End the connection at `stop` also while the server sends nothing, which would hold the reader for minutes."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if stop.wait(LOOKING_SECONDS):
                wire = answer.extensions["network_stream"].get_extra_info("socket")
                with suppress(OSError):  # it has ended by itself
                    wire.shutdown(socket.SHUT_RDWR)
                return

    watcher = threading.Thread(target=watch, name="stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()


def _check(answer: httpx.Response) -> None:
    """Raise ServerError with what the server says, where it refuses."""
    if answer.is_error:
        said = " ".join(answer.read().decode(errors="replace").split())[:300]
        raise ServerError(f"The server at {answer.request.url} refuses with {answer.status_code}: {said}")
