"""What can go wrong with what is kept, as one small tree; every message is a whole sentence with its remedy.

StorageError
├── DatabaseUnavailable   locked, read-only, full, unreachable, or its address cannot be used
├── NotADatabase          another kind of file, a damaged one, or another program's database
├── NewerSchema           written by a version of Imprint that this one does not know
├── NotFound              no such user, conversation or turn for the user who asks
├── AlreadyAnswered       a turn is answered once
├── AlreadyFolded         a turn is folded once, and its text does not change afterwards
├── MemoryChanged         the memory is no longer the version that a new one was computed from
├── NotEmpty              a memory can be taken in only where nothing is held yet
├── CorruptMemory         the stored state does not match its digest
├── Sealed                what is stored is sealed, and the master key at hand does not open it
├── InvalidName           a user's name that cannot be kept
└── InvalidText           a text that cannot be kept

No message repeats what a person wrote.
"""


class StorageError(Exception):
    """Anything that storage raises on purpose."""


class DatabaseUnavailable(StorageError):
    """The database cannot be opened, read or written at present."""


class NotADatabase(StorageError):
    """What lies at the address is not an Imprint database."""


class NewerSchema(StorageError):
    """The database has a schema revision that this version does not know."""


class NotFound(StorageError):
    """There is no such thing for this user; whether it exists for another one is not told."""


class AlreadyAnswered(StorageError):
    """The turn has its reply already."""


class AlreadyFolded(StorageError):
    """The turn is in the state already."""


class MemoryChanged(StorageError):
    """Another change to the memory came first."""


class NotEmpty(StorageError):
    """The user has turns already, and a memory that is taken in would not be theirs alone."""


class CorruptMemory(StorageError):
    """The stored bytes are not those that were written."""


class Sealed(StorageError):
    """What is stored is sealed with another key, or was changed since."""


class InvalidName(StorageError):
    """A name of no or too many characters, or with characters that do not show."""


class InvalidText(StorageError):
    """A text that no database stores unchanged."""
