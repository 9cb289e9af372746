"""The one tree of this package's errors; a message names the value and the cure in one line."""


class WeaveNetError(Exception):
    """Anything that went wrong in a way that a person can be told in one line."""


class EndpointError(WeaveNetError):
    """An asked-for address or subnet is malformed or outside the weave range."""


class AddressInUseError(WeaveNetError):
    """An asked-for address already belongs to somebody, whom the message names."""


class NoAddressError(WeaveNetError):
    """A subnet has no free address left."""


class RingError(WeaveNetError):
    """Addresses cannot change hands like that."""


class ForeignRingError(RingError):
    """Another peer's addresses are shared out by another group of peers, or come from another range."""


class TakenElsewhereError(RingError):
    """The owner of an address does not give it, as somebody has it, whom the message names."""


class RingWireError(RingError):
    """What another peer or a file says about addresses is malformed."""


class RingFileError(RingError):
    """What must never be forgotten about the ring cannot be read or kept."""


class PeerError(WeaveNetError):
    """Another peer is not connected, did not answer in time or refused; the message names it."""


class NotAttachedError(WeaveNetError):
    """A container has no weave address, or not the one named."""


class ContainerGoneError(WeaveNetError):
    """A container ended while it was being attached."""


class ResolverMovedError(WeaveNetError):
    """Somebody else wrote a container's resolv.conf while it was being rewritten."""


class NetworkError(WeaveNetError):
    """The kernel refused a change to interfaces, addresses, routes or rules."""


class RangeConflictError(NetworkError):
    """The weave range overlaps a route of this host, which the message names."""


class ControlError(WeaveNetError):
    """The daemon refused a command, or did not answer it."""


class NoDaemonError(ControlError):
    """No daemon listens on the control socket, or it ended before it answered."""
