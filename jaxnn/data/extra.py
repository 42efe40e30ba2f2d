"""Packages that only some functions need."""

import importlib
from typing import Any


def import_extra(module: str, needed_by: str, extra: str = "experiments") -> Any:
    """Imports a package of an extra of jaxnn.

    Args:
      module: dotted name, such as "sklearn.datasets".
      needed_by: the function that needs it, for the message.
      extra: the one that brings it, as in `jaxnn[experiments]`.
    Raises:
      ModuleNotFoundError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{needed_by} expects the package {module.split('.')[0]!r}; got {error}; "
            f"run: pip install 'jaxnn[{extra}]'",
            name=error.name,
        ) from error
