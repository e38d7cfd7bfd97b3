"""`python -m benchmarks.receipts [--users N] [--json OUT]`: does a receipt hold for somebody who has the file alone?

People tell canaries, through the real service, engine and storage, and forget half of them, one after the other. Then
each memory is exported and checked by a clean process that gets the file and the model, and no database: once with the
texts, once without. Last, single bits of the files are flipped: every one has to be refused, or to change nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from app.bootstrap import running_service
from app.errors import BadParcel
from app.portable import unwrap
from app.service import Service
from app.settings import HOME, Settings
from benchmarks.forgetting import Person, tell
from benchmarks.opening import measured_people
from benchmarks.report import origin
from storage.database import file_url, open_database
from storage.records import Receipt
from storage.store import Store

USERS, FLIPS = 5, 1000


def main() -> int:
    """Print a table and a JSON line; 1 if a promise is broken, 2 if nothing can be measured."""
    return measured_people(__doc__, USERS, run, is_kept)


def is_kept(result: dict[str, Any]) -> bool:
    """Whether every file was found whole, its newest receipt found in it, and no flip taken for the truth."""
    checks = 2 * result["files"]
    return result["whole"] == result["newest_found"] == checks and result["flips_believed"] == 0


def run(settings: Settings, users: int, seed: int) -> dict[str, Any]:
    """Tell, forget, export, check, and flip."""
    with TemporaryDirectory() as folder:
        private = settings.model_copy(update={"database_url": file_url(Path(folder) / "database" / "receipts.db")})
        with running_service(private) as (service, loading):
            store = Store(open_database(private.database_url))
            people = [tell(service, store, seed, number) for number in range(users)]
            service.recover()
            receipts = [receipt for one in people for receipt in _forgotten(service, one)]
            files = [service.export_memory(one.user.id, texts) for one in people for texts in (True, False)]
            where = origin(loading.result())
        found = [_checked_alone(settings, Path(folder) / "alone", file) for file in files]
    whole = [one for one in found if one is not None]
    probes = [receipt.probe for receipt in receipts if receipt.probe]
    return {
        "files": users,
        "receipts": len(receipts),
        "whole": len(whole),
        "replayed_exactly": sum(one["exactly"] for one in whole),
        "newest_found": sum(one["receipts"][-1]["found_after"] is not None for one in whole),
        "nats_before": round(fmean(probe.before for probe in probes), 2),
        "nats_after": round(fmean(probe.after for probe in probes), 2),
        **_flipped(files, Random(seed)),
    } | where


def _forgotten(service: Service, person: Person) -> list[Receipt]:
    """Forget the canaries of a person, each with a receipt of its own."""
    receipts = []
    for fact in person.forgotten:
        turns = [turn.id for turn in service.held_turns(person.user.id) if fact.value in turn.user_text]
        receipts.append(service.forget_turns(person.user.id, turns))
    return receipts


def _checked_alone(settings: Settings, folder: Path, file: bytes) -> dict[str, Any] | None:
    """What a process of its own says of a file, in a folder with nothing else; None where it refuses it."""
    folder.mkdir(exist_ok=True)
    path = folder / "memory.imprint"
    path.write_bytes(file)
    flags = ["--model", str(settings.model), "--database", file_url(folder / "none" / "none.db")]
    command = [sys.executable, str(HOME / "launch.py"), *flags, "memory", "check", str(path), "--json"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if (folder / "none").exists():
        raise RuntimeError("The check has opened a database.")
    found: dict[str, Any] | None = json.loads(ended.stdout) if ended.returncode == 0 else None
    return found


def _flipped(files: Sequence[bytes], rng: Random) -> dict[str, int]:
    """Flip one bit of a file, many times: how often that is refused, changes nothing, or is believed."""
    counts = {"flips": FLIPS, "flips_refused": 0, "flips_harmless": 0, "flips_believed": 0}
    known = [asdict(unwrap(file)) for file in files]
    for _ in range(FLIPS):
        number = rng.randrange(len(files))
        flipped = bytearray(files[number])
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        try:
            same = asdict(unwrap(bytes(flipped))) == known[number]
            counts["flips_harmless" if same else "flips_believed"] += 1
        except BadParcel:
            counts["flips_refused"] += 1
    return counts


if __name__ == "__main__":
    sys.exit(main())
