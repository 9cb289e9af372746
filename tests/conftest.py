"""What every test run shares: who may run which test, and that nothing is skipped silently where it counts.

In CI (``CI=true``) a skipped test fails the run. The one exception is a test that says with
``@pytest.mark.needs("the geneve module", met=...)`` what a kind of machine may be unable to have.
"""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# No test asserts how long something took, and a crowded machine is no fault of the code. In CI the examples are the
# same at each run, so that a red run means a change; by hand they differ, and find more.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)

ROOT_MARKS = ("linux", "docker")
CANNOT_HAVE = "this machine cannot have "
SKIPPED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("ci" if _in_ci() else "here")
    config.addinivalue_line("markers", "needs(what, met): skipped unless met; what the machine may be unable to have")
    config.stash[SKIPPED] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for need in item.iter_markers("needs"):
            if not need.kwargs["met"]:
                item.add_marker(pytest.mark.skip(reason=f"{CANNOT_HAVE}{need.args[0]}"))
        if os.geteuid() != 0 and any(item.get_closest_marker(mark) for mark in ROOT_MARKS):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _note(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _note(collector.config, report)
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _in_ci() and session.config.stash[SKIPPED] and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash[SKIPPED]
    if _in_ci() and skipped:
        terminalreporter.section("skipped, which CI does not allow", red=True)
        for line in skipped:
            terminalreporter.line(line)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _note(config: pytest.Config, report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if CANNOT_HAVE not in reason:
        config.stash[SKIPPED].append(f"{report.nodeid}: {reason}")
