"""Measurements behind the figures of docs/benchmarks.md; each section is one module."""
