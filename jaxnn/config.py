"""JAX's settings, `config.jax_enable_x64` and the like: attributes of `jax.config` that type checkers do not know."""

from typing import Any

import jax

__all__ = ["config"]

config: Any = jax.config
