"""One site of all results: `python -m experiments gallery`."""
