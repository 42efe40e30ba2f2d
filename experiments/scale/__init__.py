"""Scale: the same training on many devices and processes."""
