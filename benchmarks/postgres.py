"""A PostgreSQL server for a benchmark or a test run: Debian's package, on a socket in a folder, gone with what ran."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

DEBIAN = Path("/usr/lib/postgresql")
OWNER = "postgres"


def find_binaries() -> Path | None:
    """Where the newest server's programs are, None where there is no server."""
    found = sorted(DEBIAN.glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def running() -> Iterator[str]:
    """The address of a server that runs, without the name of a database."""
    binaries = find_binaries()
    assert binaries
    with TemporaryDirectory(prefix="imprint-pg-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        if _is_root():  # a server refuses to run as root
            shutil.chown(folder, OWNER)
        _as_owner(str(binaries / "initdb"), "-D", str(data), "-U", OWNER, "-A", "trust", "-E", "UTF8", "-N")
        control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
        _as_owner(*control, "-l", str(Path(folder) / "log"), "-o", f"-k {folder} -c listen_addresses='' -F", "start")
        try:
            yield f"postgresql://{OWNER}@/{{name}}?host={folder}"
        finally:
            _as_owner(*control, "-m", "immediate", "stop")


def _as_owner(*command: str) -> None:
    before = ["runuser", "-u", OWNER, "--"] if _is_root() else []
    subprocess.run([*before, *command], check=True, capture_output=True, cwd="/")


def _is_root() -> bool:
    return pwd.getpwuid(os.getuid()).pw_name == "root"
