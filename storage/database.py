"""An open database: short transactions to read or to write, and the erasing of what was deleted.

Knows sessions, locks and the SQLite write-ahead log; knows no tables and no verbs.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

from sqlalchemy import Engine, NullPool, text
from sqlalchemy.orm import Session

from storage.address import (
    build_engine,
    describe,
    ensure_folder,
    file_url,
    find_file,
    for_reading,
    for_writing,
    read_address,
)
from storage.errors import DatabaseUnavailable
from storage.faults import UNAVAILABLE, translated
from storage.schema import bring_to_head, take_back
from storage.vault import Vault

__all__ = ["Database", "file_url", "find_file", "open_database"]

PAUSE = 0.02


class Database:
    """Hand out transactions; safe to use from any thread. A transaction is short and never spans a yield.

    `erased` is set whenever traces were erased here: whoever keeps copies clears it and copies anew.
    """

    def __init__(self, engine: Engine, place: str, timeout: float, vault: Vault) -> None:
        self.vault = vault
        self.erased = Event()
        self._engine = engine
        self._place = place
        self._timeout = timeout

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that sees one moment and does not wait for writers."""
        with translated(self._place), self._session(for_reading) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that commits at the end, or changes nothing when anything is raised within."""
        with translated(self._place), self._session(for_writing) as session, session.begin():
            yield session

    def _session(self, purpose: Callable[[Engine], Engine]) -> Session:
        return Session(purpose(self._engine), info={"vault": self.vault})

    @property
    def erases(self) -> bool:
        """Whether traces can be erased on demand, as in SQLite's files.

        PostgreSQL hides a deleted row at once, and keeps its bytes until it vacuums the table and reuses its log.
        """
        return self._engine.dialect.name == "sqlite"

    def erase_traces(self) -> None:
        """Leave nothing of what was deleted in SQLite's files; nothing happens in another database: see `erases`.

        secure_delete overwrites deleted rows, but not the copies that stay behind when a row grows and moves to
        another page: only VACUUM, which writes the whole file anew, leaves those out. Its cost grows with the file.
        Raises DatabaseUnavailable when other processes keep reading or writing for longer than the timeout.
        """
        if not self.erases:
            return
        with translated(self._place):
            with closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("VACUUM")
            if not _until(self._empty_write_ahead_log, self._timeout):
                raise DatabaseUnavailable(
                    f"What was deleted may still be found in {self._place}-wal, because another process is reading: "
                    "close that process, then forget once more."
                )
        self.erased.set()

    def note_traces(self, session: Session) -> None:
        """Have `erase_noted` know, also after a crash, that this transaction leaves traces to erase.

        The note is a number in SQLite's file that is odd while there are traces and only grows, so that what is noted
        during an erasing, which may have come too late for it, is told from what was noted before.
        """
        if self.erases:
            noted = _noted(session)
            _note(session, noted + (2 if noted % 2 else 1))

    def erase_noted(self) -> None:
        """Erase traces as `erase_traces` does, where any were noted."""
        if not self.erases:
            return
        with self.read() as session:
            noted = _noted(session)
        if noted % 2:
            self.erase_traces()
            with self.write() as session:
                if _noted(session) == noted:
                    _note(session, noted + 1)

    def _empty_write_ahead_log(self) -> bool:
        with closing(self._engine.raw_connection()) as connection:
            busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

    def copy_to(self, path: Path) -> None:
        """Write all that is kept now to a new file, while others go on reading and writing (SQLite).

        The copy holds no trace of what was deleted, and is whole or not there. Raises DatabaseUnavailable, also where
        something is there already.
        """
        if self._engine.dialect.name != "sqlite":
            raise DatabaseUnavailable(f"The database {self._place} is no SQLite file: copy it with its own tools.")
        with _appearing(path) as new, translated(self._place):
            new.touch(mode=0o600)  # SQLite fills an empty file, and this one is its owner's alone
            with closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("VACUUM INTO ?", (str(new),))

    @contextmanager
    def watched(self) -> Iterator[Callable[[], int]]:
        """A number to ask for, which differs once anybody, in whatever process, has changed anything (SQLite)."""
        with translated(self._place):
            watching = self._engine.raw_connection()
        with closing(watching) as connection:

            def version() -> int:
                with translated(self._place):
                    # Counts what all connections but this one have committed, and nothing is ever written by it.
                    return int(connection.cursor().execute("PRAGMA data_version").fetchall()[0][0])

            yield version

    def close(self) -> None:
        self._engine.dispose()


def open_database(
    url: str, timeout: float = 15.0, master: bytes | None = None, old_master: bytes | None = None
) -> Database:
    """Open a database, create it where there is none, and bring its schema to the newest revision.

    timeout is how many seconds a transaction waits for another one's lock, `master` the key that seals what is kept,
    `old_master` the one before it: see vault.py. Raises DatabaseUnavailable, NotADatabase or NewerSchema, each before
    anything is changed.
    """
    address = read_address(url)
    place = describe(address)
    ensure_folder(address)
    # Without foreign keys: a revision that rebuilds a table must not cascade into the others.
    migrating = build_engine(address, timeout, NullPool)
    with translated(place):
        bring_to_head(for_writing(migrating), place)
        if migrating.dialect.name == "sqlite" and not _until(lambda: _use_write_ahead_log(migrating), timeout):
            raise DatabaseUnavailable(f"The database {place} {UNAVAILABLE[sqlite3.SQLITE_BUSY]}.")
    # FULL: with less, a write-ahead log reaches the disk some time after a commit, and a power cut takes back the last.
    engine = build_engine(address, timeout, None, "foreign_keys=ON", "synchronous=FULL")
    return Database(engine, place, timeout, Vault(master, old_master))


def age_database(url: str, revision: str) -> None:
    """Have a database that nobody has open be as an older version left it: for whoever tests what becomes of such."""
    take_back(for_writing(build_engine(read_address(url), 1.0, NullPool)), revision)


def restore_database(backup: Path, url: str) -> None:
    """Have the SQLite file at `url`, where nothing is yet, hold what a backup does; the backup stays as it is.

    Raises DatabaseUnavailable, NotADatabase or NewerSchema, and leaves nothing behind then.
    """
    address = read_address(url)
    if address.get_backend_name() != "sqlite":
        raise DatabaseUnavailable(f"A backup cannot be restored to {describe(address)}: name a SQLite file.")
    ensure_folder(address)
    file = Path(describe(address))
    with _appearing(file) as new:
        if (log := file.with_name(f"{file.name}-wal")).exists():
            # SQLite would play it into whatever lies beside it.
            raise DatabaseUnavailable(f"{log} is left of a database that is not there any more: move it away as well.")
        new.touch(mode=0o600)
        new.write_bytes(backup.read_bytes())
        open_database(file_url(new)).close()  # says whether it is one, and brings an older one to the newest revision


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file to write that appears at `path`, whole, once nothing was raised within."""
    new = path.with_name(f"{path.name}.new")
    try:
        if path.exists():
            raise FileExistsError(None, "File exists")
        yield new
        new.replace(path)
    except OSError as error:
        raise DatabaseUnavailable(
            f"Nothing can be written to {path} ({(error.strerror or str(error)).lower()}): name another file."
        ) from error
    finally:
        new.unlink(missing_ok=True)


def _noted(session: Session) -> int:
    return int(session.scalar(text("PRAGMA user_version")) or 0)


def _note(session: Session, number: int) -> None:
    session.execute(text(f"PRAGMA user_version = {number}"))


def _use_write_ahead_log(engine: Engine) -> bool:
    """Let readers and the writer not wait for each other, where the file system can; False while others are busy."""
    with closing(engine.raw_connection()) as connection:
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
    return True


def _until(attempt: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
