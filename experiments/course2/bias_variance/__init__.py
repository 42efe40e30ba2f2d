"""Bias and variance: the experiment; the verdict on its errors is jaxnn.analysis.diagnose."""
