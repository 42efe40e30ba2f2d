"""Bias and variance: the experiment, and the verdict on its errors."""
