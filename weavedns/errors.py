"""The one tree of this package's errors; a message names the value and the cure in one line."""


class WeaveError(Exception):
    """Anything that went wrong in a way that a person can be told in one line."""


class ConfigError(WeaveError):
    """A setting is wrong: a flag, an environment variable or a key of the TOML file."""


class RecordError(WeaveError):
    """A name, a type or record data is malformed or not ours to hold."""


class UnknownRecordError(RecordError):
    """There is no such record, or it is not one that can be removed by hand."""


class ZoneFileError(RecordError):
    """A zone file cannot be read; the message starts with ``file:line:``."""


class WireError(WeaveError):
    """A DNS message or part of one is malformed."""


class ListenError(WeaveError):
    """An address cannot be listened on; the message names who holds it."""


class EngineError(WeaveError):
    """The Docker engine cannot be reached or refused a call."""


class UnknownContainerError(EngineError):
    """No container, or more than one, goes by what was given."""


class StoreError(WeaveError):
    """What must outlive the daemon could not be written."""


class PeerError(WeaveError):
    """Another peer cannot be reached, refused something, or did not answer in time."""


class PeerWireError(PeerError):
    """What came from another peer is malformed, forged or out of bounds."""


def innermost(error: Exception) -> Exception:
    """What was raised, without the groups in which each task group that it passed has wrapped it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
