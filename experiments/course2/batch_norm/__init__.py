"""Batch norm: the experiment, and the landscape around a place in the training."""
