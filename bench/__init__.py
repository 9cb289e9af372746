"""Benchmarks against peers in the same run; results go to bench/results."""
