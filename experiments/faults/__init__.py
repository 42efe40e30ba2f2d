"""Faults: runs that are killed, checkpoints that are damaged, writes that fail."""
