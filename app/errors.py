"""What can go wrong in the chat, and the one place where any error becomes a sentence for people.

AppError
├── SettingsError     a flag, an environment variable or a folder is not usable
├── BadMessage        what was sent is not a message
├── BadStrength       no number between 0 and 1
├── BadPassphrase     a name is guarded, and what came with it does not open it
├── NotAdmin          what was asked for is the admin's to do
├── NameMissing       nobody was named, or nobody has that name
├── WrongModel        a memory was made by another model than the one running
├── BadParcel         a file is not a memory that can be taken in
├── UserBusy          another turn of the same person is still being written
├── NothingLent       a Space that borrows its GPU got none
├── ShareFull         a person keeps as much as one may
├── ModelLoading      the weights are not read yet
├── ShuttingDown      the process is finishing what it has and takes nothing new
└── PortTaken         the address to serve on is not free
"""

from __future__ import annotations

import logging
import traceback

from core.errors import CoreError
from storage.errors import StorageError

log = logging.getLogger(__name__)


class AppError(Exception):
    """Root of everything that app raises on purpose."""


class SettingsError(AppError):
    """A flag, an environment variable or a folder is not usable."""


class BadMessage(AppError):
    """What was sent is not a message that can be stored and read."""


class BadStrength(AppError):
    """How much of a memory is to be read is no number from 0 to 1."""


class BadPassphrase(AppError):
    """A name is guarded by a passphrase, or has to be, and what came with it does not do."""


class NotAdmin(AppError):
    """What was asked for is the admin's to do."""


class NameMissing(AppError):
    """Nobody said whose memory it is about, or nobody has that name."""


class WrongModel(AppError):
    """A memory was made by another model, or another format, than the one running."""


class BadParcel(AppError):
    """A file is not a memory that was exported, or was changed, or belongs to another model."""


class UserBusy(AppError):
    """Another turn of the same person is still being written or folded."""


class NothingLent(AppError):
    """A Space that borrows its GPU got none."""


class ShareFull(AppError):
    """A person keeps as much here as one may."""


class ModelLoading(AppError):
    """The weights are not read yet."""


class ShuttingDown(AppError):
    """The process is finishing what it has and takes nothing new."""


class PortTaken(AppError):
    """The address to serve on is not free."""


EXPECTED = (AppError, CoreError, StorageError)
"""Errors whose own text is a sentence made for people."""


def log_error(error: Exception) -> None:
    """Log the kind of an error, and the place of an unexpected one; its text may hold what people wrote."""
    where = "" if isinstance(error, EXPECTED) else "\n" + "".join(traceback.format_tb(error.__traceback__))
    log.log(logging.INFO if isinstance(error, AppError) else logging.WARNING, "%s%s", type(error).__name__, where)


def sentence_of(error: BaseException) -> str:
    """One sentence for whoever is in front of the screen; an unexpected error shows its kind, never its content."""
    if isinstance(error, EXPECTED):
        return " ".join(str(error).split())
    return f"Something went wrong inside Imprint ({type(error).__name__}); what was stored is as it was. See the log."
