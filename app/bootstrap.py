"""All wiring: the one place where database, engine, service and page are made and put together.

The model is loaded by a thread of its own, so that a page is up within seconds and says so; only that thread brings
torch in. Knows no rules.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from app.ending import Ending
from app.errors import EXPECTED, PortTaken, SettingsError, sentence_of
from app.lending import begin_lending, is_lent_gpus, lend
from app.logs import set_up_logging
from app.rounds import every
from app.service import Service
from app.settings import Settings
from app.snapshots import NAME, Snapshots, Source, kept_up
from app.trimming import leave_few_holes, trim
from storage.database import Database, open_database, restore_database
from storage.errors import StorageError
from storage.store import Store

if TYPE_CHECKING:
    from core.device import Placement
    from core.engine import Engine
    from core.served import Server

MINUTE, DAY = 60.0, 86_400.0  # seconds

log = logging.getLogger(__name__)


@contextmanager
def running_service(settings: Settings) -> Iterator[tuple[Service, Future[Engine]]]:
    """A service over the settings' database and model; on leaving, all that is under way is stored and folded."""
    with opened(settings) as database, _served_from(database, settings) as running:
        yield running


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The settings' database with all sealed that has to be; where there is none yet, what a snapshot holds."""
    _restore_snapshot(settings)
    database = open_database(settings.database_url, master=settings.master, old_master=settings.old_master)
    try:
        Store(database).unlock()
        yield database
    finally:
        database.close()


@contextmanager
def _served_from(database: Database, settings: Settings) -> Iterator[tuple[Service, Future[Engine]]]:
    engine = begin_loading(settings)
    service = Service(Store(database), engine, settings)
    try:
        yield service, engine
    finally:
        service.close()


def _restore_snapshot(settings: Settings) -> None:
    """Every command begins with it, so that none leaves an empty database which would soon be the snapshot."""
    folder, file = settings.snapshot_folder, settings.database_file
    if not folder or not file or file.exists() or not (folder / NAME).exists():
        return
    try:
        restore_database(folder / NAME, settings.database_url)
    except StorageError as error:
        raise SettingsError(f"The snapshot {folder / NAME} is not restored. {sentence_of(error)}") from error
    log.warning("restored the snapshot %s", folder / NAME)


@contextmanager
def snapshots_of(database: Database, settings: Settings) -> Iterator[None]:
    """Within, snapshots are written to the settings' folder, if they name one, the last of them on leaving."""
    folder, file = settings.snapshot_folder, settings.database_file
    if not folder or not file:
        yield
        return
    with database.watched() as version:
        source = Source(database.copy_to, version)
        snapshots = Snapshots(source, folder, file.with_name(f"{file.name}.snapshot"))
        with kept_up(snapshots, database.erased, settings.snapshot_minutes * 60):
            yield


def back_up(settings: Settings, file: Path) -> None:
    """Write all that a database holds to a new file; raise StorageError where one of the two cannot be used."""
    _restore_snapshot(settings)
    database = open_database(settings.database_url)
    try:
        database.copy_to(file)
    finally:
        database.close()


def restore(file: Path, url: str) -> None:
    """Have a new database hold what a backup does; raise StorageError where one of the two cannot be used."""
    restore_database(file, url)


def begin_loading(settings: Settings) -> Future[Engine]:
    """Load the model in the background; where GPUs are lent, on this thread, which has the stand-in for one."""
    loading: Future[Engine] = Future()
    if is_lent_gpus():
        _load(loading, settings)
    else:
        Thread(target=_load, args=(loading, settings), name="load", daemon=True).start()
    return loading


def _load(loading: Future[Engine], settings: Settings) -> None:
    try:
        loading.set_result(_engine(settings))
    except BaseException as error:
        # Whoever waits for the model has to hear of it, whatever it is.
        loading.set_exception(error)


def _engine(settings: Settings) -> Engine:
    from core.checkpoint import load_checkpoint
    from core.device import resolve
    from core.engine import Engine
    from core.lent import LentEngine
    from core.lora import check_files
    from core.origin import folder_of

    choice = settings.choice
    if settings.device == "auto" and is_lent_gpus():
        choice = replace(choice, device="cpu")
    if is_lent_gpus():
        begin_lending()
    if settings.compile and (settings.server or is_lent_gpus()):
        raise SettingsError(
            "Replies are written elsewhere, so no steps can be compiled here; leave IMPRINT_COMPILE at 0."
        )
    placement, server = resolve(choice), _server(settings)
    if settings.names_a_model:
        _say_what_it_takes(settings, placement)
    if settings.lora:
        check_files(folder_of(settings.lora))
    checkpoint = load_checkpoint(settings.origin, placement)
    if settings.guidance is not None:
        checkpoint = replace(checkpoint, guidance=settings.guidance)
    if is_lent_gpus() and checkpoint.base.device.type == "cuda":
        return LentEngine(checkpoint, lend)
    if not server:
        return Engine(checkpoint, settings.compile)
    from core.served import ServedEngine

    return ServedEngine(checkpoint, server)


def _server(settings: Settings) -> Server | None:
    """The server that writes the replies, if there is one, once it has answered: a base takes long to read."""
    if not settings.server:
        return None
    from core.served import Server, check_server

    key = settings.server_key.get_secret_value() if settings.server_key else ""
    where = (settings.server, settings.server_kind, settings.server_folder)
    server = Server(*where, settings.server_loras, settings.server_rank, key)
    check_server(server)
    return server


def _say_what_it_takes(settings: Settings, placement: Placement) -> None:
    """Before the weights of a model of somebody's own are read, which may take long and more than there is."""
    from app.sizes_commands import cautions, in_words
    from core.origin import CONFIGS
    from core.sizes import sizes_of_origin

    origin, dtype = settings.origin, str(placement.dtype).removeprefix("torch.")
    origin.parts(CONFIGS)  # says what is missing, where something is
    found = sizes_of_origin(origin)
    lines = [in_words(found, dtype, placement.bits), placement.reason]
    if not settings.server:
        lines += cautions(found, dtype, settings.adapter_cache_bytes, settings.replies_at_once)
    for line in lines:
        print(f"{origin.name}: {line}", file=sys.stderr, flush=True)


def serve(settings: Settings) -> None:
    """Serve the page until SIGINT or SIGTERM, then finish or store what is in flight.

    Where that takes too long it is broken off: what is stored is folded at the next start. Raise PortTaken, and
    whatever the loading of the model raised.
    """
    set_up_logging(settings.log_format, settings.log_level)
    ensure_free(settings.host, settings.port)
    leave_few_holes()
    ending = Ending()
    with (
        every(MINUTE, trim, "giving back memory"),
        opened(settings) as database,
        snapshots_of(database, settings),
        _served_from(database, settings) as (service, engine),
        every(DAY, service.delete_lost_guests, "deleting lost guests"),
        _page(service, settings) as address,
    ):
        ending.listen()
        print(f"Imprint is at {address}", flush=True)
        engine.add_done_callback(lambda loaded: ending.tell() if loaded.exception() else _recover(service))
        ending.wait()
        if engine.done():
            engine.result()


@contextmanager
def _page(service: Service, settings: Settings) -> Iterator[str]:
    from app.api import build_api
    from app.handlers import Handlers
    from app.health import health
    from app.ui import build_page, start_page

    page = build_page(Handlers(service))
    try:
        start_page(page, settings.host, settings.port)
        page.app.mount("/v1", build_api(service))
        page.app.include_router(health(service))
        yield page.local_url
    finally:
        page.close(verbose=False)


def _recover(service: Service) -> None:
    """Make good, on the thread that has loaded the model, what an earlier process left."""
    try:
        if outstanding := service.recover():
            log.warning("made good: %d turns that were stored but not folded", outstanding)
        service.delete_lost_guests()
    except EXPECTED as error:
        log.warning("turns wait to be folded: %s", type(error).__name__)


def ensure_free(host: str, port: int) -> None:
    """Raise PortTaken unless something may listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise PortTaken(
            f"Nothing can be served at {host}:{port} ({(error.strerror or str(error)).lower()}); stop what is running "
            "there, or choose another with --port and --host."
        ) from error
