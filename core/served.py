"""Replies written by another server that holds the same base (vLLM, SGLang), to which each memory goes as a LoRA.

Folding, and everything that is asked about a reply, stays in this process. A LoRA is there, as files and in the server,
for as long as its adapter is here: what is forgotten here is gone there too.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

import httpx

from core.adapter import Adapter
from core.base import Base
from core.checkpoint import Checkpoint
from core.decoding import Row
from core.engine import Engine
from core.errors import ServerError
from core.lora import save_lora

NAMED = "imprint-"
PATIENCE = httpx.Timeout(300.0, connect=10.0)  # loading a LoRA, or the first piece behind many others, takes a while

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    """Where it is, and how its LoRAs get there: through `folder`, which both processes read.

    At most `loras` are loaded at once, none of a rank above `rank`, if that is given: more is cut off.
    """

    url: str
    kind: Literal["vllm", "sglang"]
    folder: Path
    loras: int = 8
    rank: int | None = None
    key: str = ""


class ServedEngine(Engine):
    """An engine whose replies another server writes."""

    def __init__(self, checkpoint: Checkpoint, server: Server) -> None:
        super().__init__(checkpoint)
        self._client = Client(server)
        self._loras = Loras(self.base, self._client)

    def _stream(self, row: Row, stop: threading.Event) -> Iterator[str]:
        if row.adapter is None:
            yield from self._client.pieces(self._client.base_name, row, stop)
            return
        with self._loras.loaded(row.adapter) as name:
            yield from self._client.pieces(self._client.model_of(name), row, stop)


class Client:
    """The server's protocol: the prompt goes as tokens, so that templates and control tokens are dealt with here."""

    def __init__(self, server: Server) -> None:
        self.server = server
        headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        self._http = httpx.Client(base_url=server.url.rstrip("/"), headers=headers, timeout=PATIENCE)
        self._prefix = "/v1" if server.kind == "vllm" else ""
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

    def pieces(self, model: str, row: Row, stop: threading.Event) -> Iterator[str]:
        """The reply as it is written; leaving off closes the connection, at which the server leaves off too."""
        asked = {
            "model": model,
            "prompt": list(row.prompt),
            "max_tokens": row.sampling.max_tokens,
            "temperature": row.sampling.temperature,
            "top_p": row.sampling.top_p,
            "seed": row.sampling.seed,
            "stop": list(row.sampling.stop),
            "stream": True,
        }
        with self._translated(), self._http.stream("POST", "/v1/completions", json=asked) as answer:
            _check(answer)
            for line in answer.iter_lines():
                data = line.removeprefix("data:").strip()
                if data == "[DONE]" or stop.is_set():
                    return
                if data and (piece := json.loads(data)["choices"][0]["text"]):
                    yield piece

    def _call(self, method: str, path: str, **body: str) -> Any:
        with self._translated():
            answer = self._http.request(method, path, json=body or None)
            _check(answer)
            return answer.json() if "json" in answer.headers.get("content-type", "") else {}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, json.JSONDecodeError, KeyError, IndexError) as error:
            reason = str(error) or type(error).__name__
            raise ServerError(
                f"The server at {self.server.url} did not write a reply ({reason}); see whether it runs."
            ) from error


def _check(answer: httpx.Response) -> None:
    """Raise ServerError with what the server says, where it refuses."""
    if answer.is_error:
        said = " ".join(answer.read().decode(errors="replace").split())[:300]
        raise ServerError(f"The server at {answer.request.url} refuses with {answer.status_code}: {said}")


class Loras:
    """The adapters that the server holds, each under a name of its own; those of dead adapters are taken away."""

    def __init__(self, base: Base, client: Client) -> None:
        self._base, self._client, self._folder = base, client, client.server.folder
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._folder.glob(f"{NAMED}*"):  # by a process that was killed
            shutil.rmtree(left)
        self._names = OrderedDict[int, str]()  # by the id of the adapter, the one used last at the end
        self._using = Counter[str]()
        self._lock = threading.RLock()  # an adapter may die while another is being loaded

    @contextmanager
    def loaded(self, adapter: Adapter) -> Iterator[str]:
        """Have the server hold an adapter in the block, and after it until room is needed; the name it has there."""
        with self._lock:
            name = self._names.get(id(adapter)) or self._load(adapter)
            self._names.move_to_end(id(adapter))
            self._using[name] += 1
        try:
            yield name
        finally:
            with self._lock:
                self._using[name] -= 1

    def _load(self, adapter: Adapter) -> str:
        while len(self._names) >= self._client.server.loras and (spare := self._spare()):
            self._unload(spare)
        name, full = NAMED + token_hex(8), adapter.lora_B[0].shape[-1]
        rank = min(self._client.server.rank or full, full)
        try:
            save_lora(self._folder / name, self._base, adapter, rank=rank)
            self._client.load(name, self._folder / name)
        except BaseException:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            raise
        self._names[id(adapter)] = name
        weakref.finalize(adapter, self._unload, id(adapter))
        return name

    def _spare(self) -> int | None:
        """The adapter that was used longest ago and writes nothing now."""
        return next((key for key, name in self._names.items() if not self._using[name]), None)

    def _unload(self, key: int) -> None:
        with self._lock:
            name = self._names.pop(key, None)
            if name is None:
                return
            shutil.rmtree(self._folder / name, ignore_errors=True)
            self._using.pop(name, None)
            try:
                self._client.unload(name)
            except ServerError as error:
                log.warning("the server may still hold a memory that is gone here: %s", error)
