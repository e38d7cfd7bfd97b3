"""What can go wrong in the method, each message one whole sentence with the value and the remedy.

CoreError
├── CheckpointError     a model folder is missing, truncated, or not what it says
├── StateError          a stored state cannot be used with this model
├── PromptError         a text cannot be read by this model
├── DeviceError         the asked-for device or kernel is not there
└── ServerError         the server that writes the replies does not answer, or refuses
"""


class CoreError(Exception):
    """Root of everything that core raises on purpose."""


class CheckpointError(CoreError):
    """A model folder is missing, truncated, or not what it says it is."""


class StateError(CoreError):
    """A state cannot be used: wrong shape, numbers that are not finite, or unreadable bytes."""


class PromptError(CoreError):
    """A text cannot be read by this model."""


class DeviceError(CoreError):
    """The asked-for device or attention kernel is not available."""


class ServerError(CoreError):
    """The server that writes the replies does not answer, or refuses what it is asked."""


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough to stand in a sentence: a line, and the next after a colon."""
    first, *others = (str(error).strip() or type(error).__name__).splitlines()
    return " ".join([first, *others[:1]] if first.endswith(":") else [first]).replace("\t", "").rstrip(".")
