"""The LoRAs of replies that a server writes: each in a folder of its own, there for one reply, then gone.

Of a server this knows only that it loads a LoRA from a folder, and unloads it.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from core.adapter import Adapter
from core.base import Base
from core.errors import ServerError, first_line
from core.lora import save_lora

if TYPE_CHECKING:
    from core.served import Client

NAMED, LOCK = "imprint-", "lock"
STARTED_WITH = {
    "vllm": "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora",
    "sglang": "--enable-lora, --lora-target-modules {layer}",
}

log = logging.getLogger(__name__)


class Loras:
    """The LoRAs of the replies that are being written, each in a folder and under a name of its own.

    Their folders lie in one of this process, which is locked while it runs: what a killed one left is taken away.
    """

    def __init__(self, base: Base, client: Client) -> None:
        self._base, self._client = base, client
        self._room = threading.BoundedSemaphore(client.server.loras)
        self._folder = client.server.folder / f"{NAMED}{token_hex(8)}"
        with _usable(client.server.folder):
            self._folder.mkdir(mode=0o700, parents=True)
            self._lock = (self._folder / LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            atexit.register(shutil.rmtree, self._folder, True)
            self._sweep()

    def check(self, adapter: Adapter) -> None:
        """Raise ServerError, with the remedy, unless the server loads an adapter and lets go of it."""
        folder, rank = self._named(adapter)
        try:
            _save(folder, self._base, adapter, rank)
            self._client.load(folder.name, folder)
            self._client.unload(folder.name)
        except ServerError as error:
            flags = STARTED_WITH[self._client.server.kind].format(layer=self._base.paths[0].rpartition(".")[2])
            raise ServerError(
                f"Memories cannot go to the server as LoRAs of rank {rank} ({first_line(error)}); start it with "
                f"{flags} and --max-lora-rank {rank} or more, or set IMPRINT_SERVER_KIND to what it is, "
                "IMPRINT_SERVER_RANK to the largest rank that it takes, or IMPRINT_SERVER_FOLDER to one that it reads."
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def loaded(self, adapter: Adapter) -> Iterator[str]:
        """Have the server hold an adapter in the block; the name it has there."""
        folder, rank = self._named(adapter)
        with self._room:
            try:
                _save(folder, self._base, adapter, rank)
                self._client.load(folder.name, folder)
                yield folder.name
            finally:
                self._take_away(folder)

    def _named(self, adapter: Adapter) -> tuple[Path, int]:
        """A folder of its own, called as the LoRA will be, and the rank that the server takes of it."""
        full = adapter.lora_B[0].shape[-1]
        return self._folder / f"{NAMED}{token_hex(8)}", min(self._client.server.rank or full, full)

    def _take_away(self, folder: Path) -> None:
        """Also where loading failed: the server may have it all the same."""
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self._client.unload(folder.name)
        except ServerError as error:
            log.warning("a LoRA is not unloaded: %s", error)

    def _sweep(self) -> None:
        """Take away the LoRAs of processes that were killed."""
        for other in self._folder.parent.glob(f"{NAMED}*"):
            if other == self._folder or not _is_abandoned(other / LOCK):
                continue
            for left in other.glob(f"{NAMED}*"):
                self._take_away(left)
            shutil.rmtree(other, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Raise ServerError unless LoRAs can be put there."""
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryDirectory(prefix="try-", dir=folder).cleanup()


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServerError(
            f"The folder {folder} for LoRAs cannot be used ({error.strerror}); choose another."
        ) from error


def _save(folder: Path, base: Base, adapter: Adapter, rank: int) -> None:
    try:
        save_lora(folder, base, adapter, rank=rank, dtype=base.dtype)
    except OSError as error:
        raise ServerError(f"A LoRA cannot be written to {folder} ({error.strerror}); make room there.") from error


def _is_abandoned(lock: Path) -> bool:
    """Whether no process holds it any more."""
    try:
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
