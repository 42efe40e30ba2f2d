"""Chorales: four-part music predicted and written frame by frame."""
