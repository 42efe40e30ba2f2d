"""Measures every op for its page: the error of its gradient in each dtype, and what it costs beside autodiff.

    python -m docs.measure              all ops of the catalogue, about a quarter of an hour
    python -m docs.measure conv lstm    these, the others stay

The table is docs/measured.json. Errors: the largest of a leaf's elements, in units of eps · max|leaf|, from the
gradient of the op's reference in float64 at the same arguments; beside it, the same error of what autodiff makes of
the reference. Cost, with arguments of the catalogue's three sizes, in a batch that shares the parameters: time of one
gradient over that of autodiff, the median of rounds that take turns, and temporary memory; nothing else should run
meanwhile. Each entry has a fingerprint of the op's code, by which a test knows what to measure again.
"""

import argparse
import ast
import functools
import hashlib
import inspect
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.measure import Case as Timed
from experiments.bench.measure import measure
from experiments.bench.ops import sides
from experiments.catalogue import CASES, SIZES, Case
from experiments.gallery.uses import all_ops
from experiments.shared.run import device
from jaxnn.checks import InputError

__all__ = ["DTYPES", "TABLE", "cases", "errors", "fingerprint", "main"]

TABLE = Path(__file__).parent / "measured.json"
DTYPES = {"f64": "float64", "f32": "float32", "bf16": "bfloat16", "f16": "float16"}
SIZE = "medium"  # of the arguments for the errors
EXAMPLES, ROUNDS = 64, 9  # of the cost


def cases() -> dict[str, Case]:
    """The first case of the catalogue for each public op."""
    found: dict[str, Case] = {}
    for case in CASES:
        if case.name in all_ops():
            found.setdefault(case.name, case)
    return found


def fingerprint(name: str) -> str:
    """Of the code of an op's two passes, without docstrings and spaces."""
    op: Any = all_ops()[name]
    return hashlib.sha256("".join(map(_code, (op._forward, op._backward))).encode()).hexdigest()[:12]


def _code(function: Any) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree)


def errors(case: Case) -> dict[str, dict[str, float]]:
    """{dtype: {"ours": units, "autodiff": units}}."""
    with jax.enable_x64(True):
        return {DTYPES[dtype]: _errors(case, dtype) for dtype in DTYPES}


def _errors(case: Case, dtype: str) -> dict[str, float]:
    args = case.args(SIZE, dtype=dtype)
    leaves, treedef = jax.tree.flatten(args)
    floats = [leaf for leaf in leaves if _moves(leaf)]
    op, reference = (functools.partial(f, **case.static) for f in (case.op, case.op.reference))

    def of(f: Any, floats: Any) -> list[Any]:
        """The values of floating point, as a function of the arguments of floating point."""
        left = iter(floats)
        full = jax.tree.unflatten(treedef, [next(left) if _moves(leaf) else leaf for leaf in leaves])
        return [leaf for leaf in jax.tree.leaves(f(*full)) if _moves(leaf)]

    # The same cotangent in every dtype, of numbers that bfloat16 holds; drawn here, for XLA may leave out a rounding.
    value = jax.eval_shape(functools.partial(of, reference), floats)
    keys = jax.random.split(jax.random.key(1), len(value))
    dy = [jax.random.normal(key, leaf.shape, jnp.bfloat16) for key, leaf in zip(keys, value, strict=True)]

    @jax.jit
    def gradients(floats: Any, wide: Any, dy: Any) -> Any:
        sides = (op, floats), (reference, floats), (reference, wide)
        return [_pulled(functools.partial(of, f), at, dy) for f, at in sides]

    ours, autodiff, truth = gradients(floats, [leaf.astype(jnp.float64) for leaf in floats], dy)
    eps = float(jnp.finfo(DTYPES[dtype]).eps)

    def units(got: Any) -> float:
        pairs = [(np.asarray(a.astype(jnp.float64)), np.asarray(b)) for a, b in zip(got, truth, strict=True) if b.size]
        return round(max((float(np.max(np.abs(a - b)) / (eps * max(np.max(np.abs(b)), 1e-300))) for a, b in pairs),
                         default=0.0), 2)

    return {"ours": units(ours), "autodiff": units(autodiff)}


def _pulled(f: Any, floats: Any, dy: Any) -> Any:
    value, pull_back = jax.vjp(f, floats)
    return pull_back([d.astype(leaf.dtype) for d, leaf in zip(dy, value, strict=True)])[0]


def _moves(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def cost(case: Case, size: str) -> dict[str, Any]:
    """One gradient of a batch beside autodiff's, of arguments of a size: {"ratio": of their times, "milliseconds":
    ours, "bytes": ours, "bytes_autodiff": autodiff's}."""
    rows = measure(Timed(case.name, "", lambda: sides(case.name, size, EXAMPLES)), ROUNDS)
    first, last = rows[0], rows[-1]
    return {"ratio": round(last.ratio, 2), "milliseconds": round(last.milliseconds, 4), "bytes": last.temporary,
            "bytes_autodiff": first.temporary}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m docs.measure", description="Measures ops for their pages.")
    parser.add_argument("names", nargs="*", metavar="OP", help="which ops (default: all)")
    names = parser.parse_args(argv).names
    known = cases()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"error: expected names of ops of the catalogue; got {', '.join(unknown)}", file=sys.stderr)
        return 2
    table = json.loads(TABLE.read_text(encoding="utf-8"))["ops"] if TABLE.is_file() and names else {}
    for name in names or known:
        try:
            table[name] = {"fingerprint": fingerprint(name), "case": known[name].arguments,
                           "errors": errors(known[name]), "cost": {size: cost(known[name], size) for size in SIZES}}
        except InputError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 1
        print(name, table[name]["errors"]["float32"], {size: of["ratio"] for size, of in table[name]["cost"].items()},
              flush=True)
        written = {"jax": jax.__version__, "device": device(), "size": SIZE, "examples": EXAMPLES,
                   "ops": dict(sorted(table.items()))}
        TABLE.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
