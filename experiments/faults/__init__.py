"""Faults: runs that are killed, checkpoints that are damaged, writes that fail, files of data that lie."""
