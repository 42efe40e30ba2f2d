"""Optimizers: the experiment, and the optimizers from their derivations."""
