"""Measurements, as ratios within one run. See benchmarks/README.md."""
