from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.dns.cookies import Cookies, Verdict, siphash

_IPV4_SECRET = "e5e973e5a6b2a43f48e7dc849e37bfcf"
_NEW_SECRET, _OLD_SECRET = "445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"
_IPV6 = "2001:db8:220:1:59de:d0f4:8769:82b8"
_CLIENT = bytes(range(8))
_ADDRESS = bytes((192, 0, 2, 7))
_NOW_S = 1_800_000_000


@pytest.mark.parametrize(
    ("size", "value"),
    [
        (0, 0x726FDB47DD0E0E31),
        (1, 0x74F839C593DC67FD),
        (8, 0x93F5F5799A932462),
        (15, 0xA129CA6149BE45E5),
        (63, 0x958A324CEB064572),
    ],
)
def test_siphash_gives_the_published_values(size: int, value: int) -> None:
    assert siphash((0x0706050403020100, 0x0F0E0D0C0B0A0908), bytes(range(size))) == value


# RFC 9018 appendix A: a new cookie, the same client later, reserved bytes that are set, a secret that was changed.
@pytest.mark.parametrize(
    ("secret", "address", "sent", "now_s", "cookie"),
    [
        (_IPV4_SECRET, "198.51.100.100", "", 1559731985, "2464c4abcf10c957010000005cf79f111f8130c3eee29480"),
        (
            _IPV4_SECRET,
            "198.51.100.100",
            "010000005cf79f111f8130c3eee29480",
            1559734385,
            "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
        ),
        (
            _IPV4_SECRET,
            "203.0.113.203",
            "01abcdef5cf78f71a314227b6679ebf5",
            1559734700,
            "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
        ),
        (
            _NEW_SECRET,
            _IPV6,
            "010000005cf7c57926556bd0934c72f8",
            1559741961,
            "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
        ),
    ],
)
def test_cookies_are_those_of_the_standard(secret: str, address: str, sent: str, now_s: int, cookie: str) -> None:
    cookies = Cookies(bytes.fromhex(secret))
    _, made = cookies.answer(bytes.fromhex(cookie[:16] + sent), ip_address(address).packed, now_s)
    assert made.hex() == cookie


@pytest.mark.parametrize(
    ("secret", "address", "sent", "made_at_s"),
    [
        (_IPV4_SECRET, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559727985),
        (_OLD_SECRET, _IPV6, "22681ab97d52c298010000005cf7c57926556bd0934c72f8", 1559741817),
    ],
)
def test_cookies_of_other_servers_with_the_secret_are_known(
    secret: str, address: str, sent: str, made_at_s: int
) -> None:
    cookies = Cookies(bytes.fromhex(secret))
    verdict, back = cookies.answer(bytes.fromhex(sent), ip_address(address).packed, made_at_s)
    assert (verdict, back.hex()) == (Verdict.KNOWN, sent)


@pytest.mark.parametrize("size", [0, 1, 7, 9, 15, 41, 100])
def test_a_cookie_of_a_wrong_size_is_malformed(size: int) -> None:
    assert Cookies(bytes(16)).answer(bytes(size), _ADDRESS, _NOW_S) == (Verdict.MALFORMED, b"")


@pytest.mark.parametrize(
    ("later_s", "verdict", "is_same"),
    [
        (0, Verdict.KNOWN, True),
        (-300, Verdict.KNOWN, True),
        (-301, Verdict.NEW, False),
        (1800, Verdict.KNOWN, True),
        (1801, Verdict.KNOWN, False),
        (3600, Verdict.KNOWN, False),
        (3601, Verdict.NEW, False),
    ],
)
def test_a_cookie_is_renewed_in_time_and_expires(later_s: int, verdict: Verdict, is_same: bool) -> None:
    cookies = Cookies(bytes(16))
    _, cookie = cookies.answer(_CLIENT, _ADDRESS, _NOW_S)
    found, again = cookies.answer(cookie, _ADDRESS, _NOW_S + later_s)
    assert found is verdict
    assert (again == cookie) is is_same


def test_the_clock_of_cookies_may_wrap_round() -> None:
    cookies = Cookies(bytes(16))
    _, cookie = cookies.answer(_CLIENT, _ADDRESS, (1 << 32) - 10)
    assert cookies.answer(cookie, _ADDRESS, (1 << 32) + 10) == (Verdict.KNOWN, cookie)


@given(
    st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.integers(0, 23), st.integers(1, 255)
)
def test_a_cookie_with_any_byte_changed_is_not_known(secret: bytes, client: bytes, at: int, flip: int) -> None:
    cookies = Cookies(secret)
    _, cookie = cookies.answer(client, _ADDRESS, _NOW_S)
    forged = bytes((*cookie[:at], cookie[at] ^ flip, *cookie[at + 1 :]))
    assert cookies.answer(forged, _ADDRESS, _NOW_S)[0] is Verdict.NEW


def test_a_cookie_is_not_known_from_another_address_or_with_another_secret() -> None:
    _, cookie = Cookies(bytes(16)).answer(_CLIENT, _ADDRESS, _NOW_S)
    assert Cookies(bytes(16)).answer(cookie, bytes((192, 0, 2, 8)), _NOW_S)[0] is Verdict.NEW
    assert Cookies(b"\1" * 16).answer(cookie, _ADDRESS, _NOW_S)[0] is Verdict.NEW
