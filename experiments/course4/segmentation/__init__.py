"""Segmentation: the experiment, what is segmented, and its pictures."""
