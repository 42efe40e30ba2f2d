"""Packages that only some data sets need."""

import importlib
from typing import Any


def import_extra(module: str, needed_by: str) -> Any:
    """Imports a package of the extra `jaxnn[experiments]`.

    Args:
      module: dotted name, such as "sklearn.datasets".
      needed_by: the function that needs it, for the message.
    Raises:
      ModuleNotFoundError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{needed_by} expects the package {module.split('.')[0]!r}; got {error}; "
            "run: pip install 'jaxnn[experiments]'",
            name=error.name,
        ) from error
