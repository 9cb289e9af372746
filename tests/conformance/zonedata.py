"""A zone with something of everything that a zone file may have, and what other servers' programs make of files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conformance.served import LAUNCH, ROOT

DEADLINE_S = 30.0
PROGRAMS = "nsd bind9-utils knot-dnssecutils"
DOMAIN = "weave.local"

_WIDE = "\n".join(f"_wide._tcp SRV 0 1 {port} h{port}.apps" for port in range(40))
_MANY = "\n".join(f"many A 10.2.8.{number}" for number in range(40))
ZONE = f"""
$TTL 3
ready A 10.2.0.9
weavedns A 127.0.0.1
@ TXT "the domain itself"
@ MX 10 mail
@ MX 20 mail.example.org.
redis A 10.2.0.1
web 30 A 10.2.0.2
web 30 A 10.2.0.3
web 30 AAAA 2001:db8::2
db A 10.2.0.5
db AAAA 2001:db8::5
far 2d A 192.0.2.10
app.project A 10.2.0.7
a.b.c.deep A 10.2.0.8
text TXT one "two; words" "back\\\\slash" "qu\\"ote" "\\000\\255"
long TXT "{"x" * 200}" "{"y" * 200}" "{"z" * 200}"
odd TYPE65280 \\# 3 000102
empty TYPE65281 \\# 0
svcb TYPE64 \\# 3 000100
back PTR redis
dots\\.in.it A 10.2.0.10
upper-CASE A 10.2.0.11
mail A 10.2.0.12
mail AAAA 2001:db8::12
_http._tcp.web 60 SRV 0 1 80 web
_ldap._tcp SRV 1 2 389 db
_ldap._tcp SRV 1 2 390 web
_ldap._tcp SRV 1 2 391 gone
_ldap._tcp SRV 1 2 392 ldap.example.org.
_none._tcp SRV 0 0 0 .
www CNAME web
chain CNAME www
chain3 CNAME chain
nowhere CNAME gone
textlink CNAME text
away CNAME www.example.org.
awaychain CNAME away
services CNAME _ldap._tcp
anyapp CNAME any.apps
sub NS ns1.sub
sub NS ns2.sub
sub NS web
sub NS ns.example.org.
sub MX 5 mail
sub A 10.2.7.4
sub TYPE43 \\# 24 30390501292eb1e1b6b3c1bbf1c6f5a3e1ed95a6c1b8a6a6
ns1.sub A 10.2.7.1
ns1.sub AAAA 2001:db8::71
ns2.sub A 10.2.7.2
ns2.sub A 10.2.7.3
deep.under.sub A 10.2.7.5
alien.other NS ns.example.org.
part.apps NS ns1.sub
into CNAME x.sub
intoit CNAME sub
lead MX 5 ns1.sub
lead MX 6 web
_sip._udp SRV 0 1 5060 ns2.sub
*.apps A 10.2.3.1
*.apps AAAA 2001:db8::31
there.apps TXT "exists, and blocks the wildcard"
deep.er.apps A 10.2.3.2
*.alias CNAME chain
blocked.alias A 10.2.3.4
*.mx MX 5 db
*.mx MX 6 host.apps
*.text TXT wild
below.*.stars A 10.2.3.3
*.*.twice A 10.2.3.5
{_WIDE}
{_MANY}
"""


def run(*command: str, cwd: Path | None = None, fails: bool = False) -> str:
    """What a program prints; it must succeed, or fail when that is wanted."""
    path = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin") or shutil.which(command[0])
    assert path, f"{command[0]} is not installed: apt-get install {PROGRAMS}"
    done = subprocess.run(
        [path, *command[1:]], capture_output=True, text=True, timeout=DEADLINE_S, cwd=cwd, check=False
    )
    assert bool(done.returncode) is fails, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def weavedns(directory: Path, *words: str, fails: bool = False) -> str:
    """What a command says to the daemon of `served(directory)`."""
    return run(*command(directory, *words), cwd=ROOT, fails=fails)


def command(directory: Path, *words: str) -> list[str]:
    """The words of a command to the daemon of `served(directory)`."""
    made = [*LAUNCH[:-1], words[0], "--socket", str(directory / "w.sock"), *words[1:]]
    assert made[0] == sys.executable
    return made
