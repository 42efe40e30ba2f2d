"""Benchmarks: what a hand-derived backward pass costs beside autodiff, in time and memory."""
