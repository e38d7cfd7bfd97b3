"""What a driver's error means: one StorageError that names the database and the remedy.

Knows SQLite's result codes; the errors of every other driver keep their own first line.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from storage.errors import DatabaseUnavailable, NotADatabase, NotFound, StorageError

DAMAGED = {
    sqlite3.SQLITE_NOTADB: "is not a database file: name another file, or move this one away to start anew",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup, or move it away to start anew",
}
UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "is locked by another process: close that process or wait for it, then try again",
    sqlite3.SQLITE_LOCKED: "is locked by another process: close that process or wait for it, then try again",
    sqlite3.SQLITE_READONLY: "is read-only: make the file and its folder writable, or name another file",
    sqlite3.SQLITE_PERM: "may not be opened: make the file and its folder writable, or name another file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that it is a file in a folder that you may write to",
    sqlite3.SQLITE_FULL: "cannot grow because the disk is full: free some space, then try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check the disk and its free space, then try again",
}
PRIMARY_CODE = 0xFF
# SQL's own code for a number that the column's type cannot hold; SQLite's driver raises OverflowError instead.
NUMBER_TOO_LARGE = "22003"
TOO_LARGE = "There is nothing with so large a number: check it and try again."


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn whatever the driver raises within into a StorageError about the database at this place."""
    try:
        yield
    except DBAPIError as error:
        raise meaning(error.orig or error, place) from error
    except sqlite3.Error as error:
        raise meaning(error, place) from error
    except NoFreeConnection as error:
        raise DatabaseUnavailable(f"The database {place} is asked too much at once: try again in a moment.") from error
    except OverflowError as error:
        raise NotFound(TOO_LARGE) from error


def meaning(error: BaseException, place: str) -> StorageError:
    code = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
    if code in DAMAGED:
        return NotADatabase(f"The database {place} {DAMAGED[code]}.")
    if code in UNAVAILABLE:
        return DatabaseUnavailable(f"The database {place} {UNAVAILABLE[code]}.")
    if getattr(error, "sqlstate", None) == NUMBER_TOO_LARGE:
        return NotFound(TOO_LARGE)
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DatabaseUnavailable(
        f"The database {place} cannot be used ({reason}): check that it is running and that its address is right."
    )
