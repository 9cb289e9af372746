"""How the demonstration shows and checks a command, on a machine that says what the test wants."""

import io
from subprocess import CompletedProcess

import pytest

from tests.demo.stage import NOTHING, Stage, StepFailedError, wants_colour


class Machine:
    """Says one thing after the other, and the last again and again."""

    name = "h1"

    def __init__(self, *says: str, code: int = 0) -> None:
        self._says = list(says)
        self._code = code

    def run(self, *argv: str, check: bool = True, timeout_s: float = 30.0) -> CompletedProcess[str]:
        said = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        return CompletedProcess(argv, self._code, said, "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def stage() -> tuple[Stage, io.StringIO]:
    out = io.StringIO()
    return Stage(out, colour=False), out


def test_a_command_is_shown_as_it_is_typed_with_what_it_printed() -> None:
    told, out = stage()
    told.do(Machine("one\ntwo\n"), "weavedns ls")
    assert out.getvalue() == "h1# weavedns ls\n    one\n    two\n"


def test_a_question_is_asked_until_the_answer_is_there_and_shown_once() -> None:
    told, out = stage()
    told.see(Machine("", "", "10.2.0.1\n"), "dig redis", r"^10\.2\.0\.1$", "it is answered")
    assert out.getvalue() == "h1# dig redis\n    10.2.0.1\nok  it is answered\n"


def test_an_answer_that_does_not_come_fails_and_says_what_was_expected() -> None:
    told, out = stage()
    with pytest.raises(StepFailedError, match="expected that it is gone: 'dig redis' on h1 was to print nothing"):
        told.see(Machine("10.2.0.1\n"), "dig redis", NOTHING, "it is gone", within_s=0.0)
    assert "10.2.0.1" in out.getvalue()


def test_a_command_that_fails_fails_the_step() -> None:
    told, _ = stage()
    with pytest.raises(StepFailedError, match="exit code 0 of 'weavedns stop' on h1; it was 1"):
        told.do(Machine("Error: no daemon\n", code=1), "weavedns stop")


@pytest.mark.parametrize(
    ("out", "environment", "wanted"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_whose_owner_has_nothing_against_them(
    out: io.StringIO, environment: dict[str, str], wanted: bool
) -> None:
    assert wants_colour(out, environment) is wanted


def test_colour_changes_nothing_but_the_colour() -> None:
    out = io.StringIO()
    Stage(out, colour=True).good("it is answered")
    assert "\033[" in out.getvalue()
    assert "it is answered" in out.getvalue()
