"""Containers' resolv.conf files: read, decided over and written. Knows nothing of interfaces and addresses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from weavenet import resolvconf, textfile
from weavenet.target import Target

log = logging.getLogger(__name__)


class Resolver:
    """What attached containers' resolvers are told.

    `nameservers` is asked each time, with those that we gave the container before; it gives this peer's own first.
    `domain` goes into search lists; `warn` tells a person something about a container.
    """

    def __init__(
        self, domain: str, nameservers: Callable[[Sequence[str]], Sequence[str]], warn: Callable[[Target, str], None]
    ) -> None:
        self._domain = domain
        self._nameservers = nameservers
        self._warn = warn

    def read(self, target: Target) -> bytes | None:
        """What a container's file says; None when it is to be left alone. For worker threads."""
        if target.resolv_conf is None or not target.resolver:
            return None
        try:
            return textfile.read(target.resolv_conf)
        except OSError as exc:
            self._warn(target, f"cannot read {target.resolv_conf} ({exc.strerror}), so it does not ask WeaveDNS")
            return None

    def text(self, target: Target, current: bytes | None, *, attached: bool) -> bytes | None:
        """What the file is to say instead; None when there is none, or when somebody changed what we had written."""
        if current is None:
            return None
        search = tuple(domain.strip(".") for domain in (target.search_own, self._domain) if domain.strip("."))
        wanted = resolvconf.Wanted(
            tuple(self._nameservers(resolvconf.given(current))), search, target.dns_search_given
        )
        text = resolvconf.rewrite(current, wanted) if attached else resolvconf.restore(current)
        if text is None:
            self._warn(target, f"{target.resolv_conf} was changed by somebody and is left alone")
        return text

    def refresh(self, target: Target) -> bool:
        """Bring the file of an attached container up to date if it is ours; whether it was written. For workers.

        Raises ResolverMovedError or NetworkError.
        """
        current = self.read(target)
        if target.resolv_conf is None or current is None or resolvconf.state_of(current) != resolvconf.State.OURS:
            return False
        text = self.text(target, current, attached=True)
        if text is None or text == current:
            return False
        textfile.overwrite(target.resolv_conf, text, current)
        return True
