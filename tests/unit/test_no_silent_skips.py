"""The rule of tests/conftest.py, tried on test files of its own: in CI nothing is skipped silently."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MET = "@pytest.mark.needs('the moon', met=True)\ndef test_it(): pass"
UNMET = "@pytest.mark.needs('the moon', met=False)\ndef test_it(): assert False"
SKIPPED = "def test_it(): pytest.skip('not today')"
NOT_IMPORTED = "pytest.importorskip('no_such_module')"


@pytest.mark.parametrize(
    ("test", "ci", "succeeds"),
    [
        (MET, "true", True),
        (UNMET, "true", True),
        (SKIPPED, "true", False),
        (NOT_IMPORTED, "true", False),
        (SKIPPED, "", True),
    ],
)
def test_a_skipped_test_fails_ci_unless_the_machine_cannot_have_what_it_needs(
    tmp_path: Path, test: str, ci: str, succeeds: bool
) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_one.py").write_text(f"import pytest\n{test}\n")
    (tmp_path / "test_two.py").write_text("def test_another(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode == 0) == succeeds, done.stdout
    assert ("skipped, which CI does not allow" in done.stdout) == (not succeeds)
