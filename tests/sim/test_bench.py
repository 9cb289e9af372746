from __future__ import annotations

import sys

import pytest

import bench.gossip
from bench.gossip import QUICK, Gate, Report, run
from bench.gossip_cluster import percentile


def test_the_benchmark_runs_and_small_clusters_reach_the_numbers() -> None:
    report = run(QUICK)
    text = "\n".join(report.lines)
    assert "| 10 |" in text
    assert "lost" not in text.replace("% loss", "")
    # The speed of the simulator is no gate for so few peers, so nothing here depends on the machine.
    assert [gate for gate in report.gates if not gate.holds] == []
    assert len(report.gates) >= 8


@pytest.mark.parametrize(
    ("gate", "holds"),
    [
        (Gate("x", 5.0, 5.0), True),
        (Gate("x", 5.1, 5.0), False),
        (Gate("x", 0.1, 0.1, least=True), True),
        (Gate("x", 0.09, 0.1, least=True), False),
    ],
)
def test_a_gate_that_fails_is_the_exit_code(gate: Gate, holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report()
    report.gates.append(gate)
    monkeypatch.setattr(bench.gossip, "run", lambda _plan: report)
    monkeypatch.setattr(sys, "argv", ["bench.gossip", "--quick"])
    assert bench.gossip.main() == (0 if holds else 1)
    assert gate.row()[-1] == ("holds" if holds else "**fails**")


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
