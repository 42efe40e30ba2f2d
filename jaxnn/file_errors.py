"""Errors of files that are read; of arguments they are in `jaxnn.checks`."""

__all__ = ["BadFile", "MissingData"]


class BadFile(ValueError):
    """A file that is not what was declared."""


class MissingData(FileNotFoundError):
    """A data file, or the directory that should hold it, does not exist."""
