"""Training a small detector: the experiment, its scenes, its networks and its pictures."""
