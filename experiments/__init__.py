"""Experiments: `python -m experiments list`, `python -m experiments run NAME`."""
