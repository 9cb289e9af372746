"""What records, names and data may be, for hypothesis; shared by the tests of this folder."""

from __future__ import annotations

from hypothesis import strategies as st

from weavedns.records import names
from weavedns.records.record import MAX_TTL_S, Origin, Record

DOMAIN = names.parse("weave.local")

labels = st.one_of(
    st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True).map(str.encode),
    st.binary(min_size=1, max_size=12),
    st.binary(min_size=60, max_size=63),
).map(bytes.lower)


def _join(parts: list[bytes], suffix: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in parts) + suffix


def _fits(name: bytes) -> bool:
    return len(name) <= names.MAX_NAME_BYTES


any_names = st.lists(labels, max_size=4).map(lambda parts: _join(parts, names.ROOT)).filter(_fits)
our_names = (
    st.lists(st.one_of(labels, st.just(b"*")), max_size=3).map(lambda parts: _join(parts, DOMAIN)).filter(_fits)
)
u16 = st.integers(0, 65535).map(lambda number: number.to_bytes(2, "big"))
strings = st.binary(max_size=255).map(lambda text: bytes((len(text),)) + text)

data_by_type = st.one_of(
    st.tuples(st.just(1), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(28), st.binary(min_size=16, max_size=16)),
    st.tuples(st.just(12), any_names),
    st.tuples(st.just(15), st.builds(bytes.__add__, u16, any_names)),
    st.tuples(st.just(33), st.builds(lambda *parts: b"".join(parts), u16, u16, u16, any_names)),
    st.tuples(st.just(16), st.lists(strings, min_size=1, max_size=3).map(b"".join)),
    # Private use (RFC 6895 section 3.1): no reader knows their form.
    st.tuples(st.integers(65280, 65534), st.binary(max_size=40)),
)


def _record(name: bytes, typed: tuple[int, bytes], ttl_s: int) -> Record:
    return Record("peer", "added", name, typed[0], typed[1], ttl_s, Origin.ADDED)


records = st.builds(_record, our_names, data_by_type, st.sampled_from([0, 1, 300, MAX_TTL_S]))
