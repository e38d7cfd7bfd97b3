"""Where the database is: a URL is read, checked and made into an engine; nothing is connected to yet.

Knows the drivers' differences, SQLite's settings above all; knows no tables.
"""

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, Pool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from storage.errors import DatabaseUnavailable

BEGIN = "imprint_begin"
TAKE_THE_WRITE_LOCK = "BEGIN IMMEDIATE"


def file_url(path: Path) -> str:
    """Return the URL of a SQLite file; it is escaped, so that any folder name works."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def read_address(url: str) -> URL:
    """Parse and check a URL; a message shows it without its password."""
    try:
        address = make_url(url)
        dialect = address.get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, ImportError, ValueError) as error:
        raise DatabaseUnavailable(
            f"The database address {_without_secrets(url)} cannot be used: "
            "write sqlite:///folder/file.db, or postgresql://user:password@host/name with its driver installed."
        ) from error
    if dialect.is_async:
        raise DatabaseUnavailable(f"The database address {describe(address)} names an async driver: name another.")
    if _is_plain_file(address) and (address.query or not _is_file_name(address.database or "")):
        raise DatabaseUnavailable(
            f"The database address {_without_secrets(url)!a} has options or characters that a file has not: "
            "write sqlite:///folder/file.db."
        )
    if _is_sqlite(address) and not _is_kept(address):
        raise DatabaseUnavailable(
            f"The database address {describe(address)} names no file, so nothing would be kept: "
            "write sqlite:///folder/file.db."
        )
    return address


def find_file(url: str) -> Path | None:
    """The SQLite file that a URL names, None where it names another kind of database."""
    address = read_address(url)
    return Path(describe(address)) if _is_plain_file(address) else None


def describe(address: URL) -> str:
    """Name the database in a message: the file, or the URL without password and options."""
    if _is_plain_file(address):
        return str(Path(address.database or "").absolute())
    return address.set(query={}).render_as_string(hide_password=True)


def ensure_folder(address: URL) -> None:
    if not _is_plain_file(address):
        return
    folder = Path(address.database or "").absolute().parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise DatabaseUnavailable(
            f"The folder {folder} for the database cannot be created: "
            "make the folder above it writable, or name another file."
        ) from error


def build_engine(address: URL, timeout: float, pool: type[Pool] | None = None, *pragmas: str) -> Engine:
    """Make an engine; timeout is how many seconds a transaction waits for another one's lock."""
    # Parameters are what people wrote: they stay out of error messages and logs.
    if not _is_sqlite(address):
        engine = create_engine(address, poolclass=pool, hide_parameters=True, pool_pre_ping=True)
        if _is_postgresql(address):
            # For each transaction: what a connection is given at its start, a pooler in between may refuse.
            waits = f"SET LOCAL lock_timeout = {round(timeout * 1000)}"
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(waits))
        return engine
    engine = create_engine(address, poolclass=pool, hide_parameters=True, connect_args={"timeout": timeout})

    def set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # The driver would begin only before the first write, and two writers would read the same old value.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={round(timeout * 1000)}", "secure_delete=ON", "temp_store=MEMORY", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


def for_reading(engine: Engine) -> Engine:
    """The same engine and connections, with transactions that see one moment: SQLite's do by themselves."""
    return engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="REPEATABLE READ")


def for_writing(engine: Engine) -> Engine:
    """The same engine and connections, with transactions that take SQLite's write lock before they read."""
    return engine.execution_options(**{BEGIN: TAKE_THE_WRITE_LOCK})


def _is_sqlite(address: URL) -> bool:
    return address.get_backend_name() == "sqlite"


def _is_postgresql(address: URL) -> bool:
    return address.get_backend_name() == "postgresql"


def _is_plain_file(address: URL) -> bool:
    return _is_sqlite(address) and not (address.database or "").startswith("file:")


def _is_file_name(name: str) -> bool:
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in name)


def _is_kept(address: URL) -> bool:
    database = address.database or ""
    return bool(database) and ":memory:" not in database and address.query.get("mode") != "memory"


def _without_secrets(url: str) -> str:
    before, at, after = url.rpartition("@")
    return f"***@{after}" if at else before + after
