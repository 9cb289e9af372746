from __future__ import annotations

from bench.gossip import QUICK, percentile, run


def test_the_benchmark_runs_and_small_clusters_reach_the_numbers() -> None:
    report = "\n".join(run(QUICK).lines)
    assert "| 10 |" in report
    assert "lost" not in report.replace("% loss", "")


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
