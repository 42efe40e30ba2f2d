"""Bad calls of network, look_inside, per_example, clipped_gradient_sum, by_autodiff, and of compare_gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import (
    Dense,
    Dropout,
    Sequential,
    by_autodiff,
    clipped_gradient_sum,
    compare_gradients,
    dense,
    look_inside,
    network,
    over_examples,
    per_example,
    relu,
    sigmoid,
    softmax_cross_entropy,
)
from jaxnn.gradients.arguments import parse
from jaxnn.testing import assert_gradients_match
from tests.bad_calls.row import Row

__all__ = ["ROWS"]

W = {"weight": jnp.ones((3, 2)), "bias": jnp.ones(3)}
X, BATCH, LABELS = jnp.ones(2), jnp.ones((4, 2)), jnp.array([0, 1, 2, 0])


@network
def gate(params, x):
    return sigmoid(dense(params, x))


def branches(x):
    return x if x.sum() > 0 else -x


def counts(x):
    return jnp.zeros(int(x.sum()))


def uses_numpy(x):
    return jnp.asarray(np.sin(x))


def changes(params, x):
    params["seen"] = x
    return dense({"weight": params["weight"]}, x)


@functools.cache
def passed():
    return gate.forward(W, X)


NETWORKS = [
    Row("network: a number", lambda: network(3), "function"),
    Row("network: None", lambda: network(None), "function"),
    Row("network: a class", lambda: network(Dense), "Dense(...)"),
    Row("network: a list of layers", lambda: network([Dense(3)]), "function"),
    Row("network: no arguments", lambda: gate.forward()),
    Row("network: an argument too many", lambda: gate.forward(W, X, X)),
    Row("network: a keyword not known", lambda: gate.forward(W, X, train=True), "train"),
    Row("network: x left out", lambda: gate.forward(W), "x"),
    Row("network: arguments swapped", lambda: gate.forward(X, W), "gate"),
    Row("network: a batch", lambda: gate.forward(W, BATCH), "jax.vmap"),
    Row("network: text as x", lambda: gate.forward(W, "abc"), "x"),
    Row("network: a list as x", lambda: gate.forward(W, [1.0, 2.0]), "x"),
    Row("network: None as params", lambda: gate.forward(None, X), "params"),
    Row("network: a function as x", lambda: gate.forward(W, abs), "x"),
    Row("network: objects as x", lambda: gate.forward(W, np.array([object()])), "x"),
    Row("network: a function that returns None", lambda: network(lambda x: None).forward(X), "returns"),
    Row("network: a function that returns text", lambda: network(lambda x: "abc").forward(X), "returns"),
    Row("network: a function that returns nothing", lambda: network(lambda x: ()).forward(X), "returns"),
    Row("network: a branch on a value", lambda: network(branches).forward(X), "jnp.where"),
    Row("network: int() of a value", lambda: network(counts).forward(X), "known at run time"),
    Row("network: NumPy inside", lambda: network(uses_numpy).forward(X), "jnp in place"),
    Row("network: a changed argument", lambda: network(changes).forward(dict(W), X), "changes its argument"),
    Row("network: dy of another shape", lambda: gate.backward(passed()[1], jnp.ones(5)), "dy"),
    Row("network: dy of another structure", lambda: gate.backward(passed()[1], (jnp.ones(3),)), "structure"),
    Row("network: text as dy", lambda: gate.backward(passed()[1], "abc"), "dy"),
    Row("network: y for the cache", lambda: gate.backward(passed()[0], jnp.ones(3)), "cache"),
    Row("network: the pair for the cache", lambda: gate.backward(passed(), jnp.ones(3)), "cache"),
    Row("network: None for the cache", lambda: gate.backward(None, jnp.ones(3)), "cache"),
    Row("network: the reference of a batch", lambda: gate.reference(W, BATCH), "jax.vmap"),
    Row("network: an unhashable keyword", lambda: network(lambda x, *, a=None: x * 2).forward(X, a={}), "hashable"),
    Row("by_autodiff: a number", lambda: by_autodiff(3), "function"),
    Row("by_autodiff: a class", lambda: by_autodiff(dict), "function"),
]

NET = Sequential(hidden=Dense(3), drop=Dropout(0.5))


@functools.cache
def made():
    return NET.init(jax.random.key(0), (2,))


LOOKS = [
    Row("look_inside: a loss and dy", lambda: look_inside(gate, W, X, loss=jnp.sum, dy=X), "a loss or dy"),
    Row("look_inside: labels alone", lambda: look_inside(gate, W, X, labels=X), "labels alone"),
    Row("look_inside: limits swapped", lambda: look_inside(gate, W, X, vanishing=10, exploding=1), "vanishing"),
    Row("look_inside: a limit of text", lambda: look_inside(gate, W, X, vanishing="small"), "vanishing"),
    Row("look_inside: a limit of NaN", lambda: look_inside(gate, W, X, exploding=np.nan), "exploding"),
    Row("look_inside: a number", lambda: look_inside(3, X), "function"),
    Row("look_inside: a class", lambda: look_inside(Dense, X), "Dense(...)"),
    Row("look_inside: a function called", lambda: look_inside(gate(W, X)), "function"),
    Row("look_inside: params left out", lambda: look_inside(gate, X)),
    Row("look_inside: a layer of x alone", lambda: look_inside(NET, X), "params, state, x"),
    Row("look_inside: text", lambda: look_inside(gate, W, "abc")),
    Row("look_inside: a list as x", lambda: look_inside(gate, W, [1.0, 2.0])),
    Row("look_inside: a loss that is a number", lambda: look_inside(gate, W, X, loss=3), "loss"),
    Row("look_inside: a loss that is a name", lambda: look_inside(gate, W, X, loss="mse"), "loss"),
    Row("look_inside: a loss of one argument with labels", lambda: look_inside(gate, W, X, loss=lambda y: y.sum(),
        labels=X), "loss"),
    Row("look_inside: dy of another shape", lambda: look_inside(gate, W, X, dy=jnp.ones(5)), "dy"),
    Row("look_inside: text as dy", lambda: look_inside(gate, W, X, dy="abc"), "dy"),
    Row("look_inside: a keyword not known", lambda: look_inside(gate, W, X, colour=3), "colour"),
    Row("look_inside: an unhashable keyword", lambda: look_inside(NET, *made(), X, train={}), "hashable"),
    Row("look_inside: training without a key", lambda: look_inside(NET, *made(), X, train=True), "PRNG key"),
    Row("look_inside: a loss that gives no number", lambda: look_inside(gate, W, X, loss=lambda y: y), "loss"),
]


def examples(function, *rest, net=dense, loss=softmax_cross_entropy, params=W, state=None, x=BATCH, labels=LABELS,
             key=None, **static):
    return function(net, loss, params, {} if state is None else state, x, labels, *rest,
                    **({} if key is None else {"key": key}), **static)


PER = [(f"{function.__name__}: ", functools.partial(examples, function, *rest)) for function, *rest in (
    (per_example,), (clipped_gradient_sum, 1.0))]
EXAMPLES = [
    *(Row(who + kind, lambda call=call, given=given: call(**given), words) for who, call in PER for kind, given,
      words in (
        ("a number as net", {"net": 3}, "net"),
        ("a name as net", {"net": "dense"}, "net"),
        ("a class as net", {"net": Dense}, "Dense(...)"),
        ("a number as loss", {"loss": 3}, "loss"),
        ("a name as loss", {"loss": "mse"}, "loss"),
        ("a loss of one argument", {"loss": lambda y: y.sum()}, "loss"),
        ("a loss of many numbers", {"loss": lambda y, t: y}, "loss"),
        ("a loss that gives an integer", {"loss": lambda y, t: t}, "loss"),
        ("x of one example", {"x": X}, "leading axis"),
        ("a scalar as x", {"x": 1.0}, "leading axis"),
        ("fewer labels", {"labels": LABELS[:3]}, "4"),
        ("no examples", {"x": BATCH[:0], "labels": LABELS[:0]}, "at least one"),
        ("None as x", {"x": None}, "x"),
        ("None as params", {"params": None}, "params"),
        ("a list as params", {"params": [X]}, "params"),
        ("text as x", {"x": "abc"}, "x"),
        ("text among params", {"params": {"weight": "abc"}}, "params"),
        ("text as labels", {"labels": np.array(["a", "b", "c", "d"])}, "labels"),
        ("integer params", {"params": {"weight": jnp.ones((3, 2), int)}}, "floating"),
        ("a seed as key", {"key": 0, "net": NET, "train": True}, "PRNG key"),
        ("keys of all examples", {"key": jax.random.split(jax.random.key(0), 4)}, "one PRNG key"),
        ("train for an op", {"train": True}, "train"),
        ("a layer over examples", {"net": over_examples(Dense(3))}, "x of shape (2,)"),
    )),
    *(Row(f"clipped_gradient_sum: {kind} as max_norm", lambda m=m: examples(clipped_gradient_sum, m), "max_norm")
      for kind, m in {"zero": 0.0, "minus one": -1.0, "NaN": np.nan, "text": "1", "None": None, "an array": jnp.ones(2),
                      "True": True, "a complex number": 1j, "a list": [1.0]}.items()),
    Row("PerExample.hardest of none", lambda: examples(per_example).hardest(0), "k in 1 .. 4"),
    Row("PerExample.hardest of too many", lambda: examples(per_example).hardest(5), "k in 1 .. 4"),
    Row("PerExample.hardest of text", lambda: examples(per_example).hardest("2"), "k in 1 .. 4"),
    Row("PerExample.hardest of True", lambda: examples(per_example).hardest(True), "k in 1 .. 4"),
]


def compared(f=relu, *args, **options):
    return compare_gradients(f, *(args or (X,)), **options)


COMPARISONS = [
    *(Row(f"compare_gradients: {kind}", lambda given=given: compared(**given), words) for kind, given, words in (
        ("no function", {"f": 3}, "callable"),
        ("a name", {"f": "relu"}, "callable"),
        ("None as f", {"f": None}, "callable"),
        ("by another word", {"by": "layer"}, "rule"),
        ("by True", {"by": True}, "rule"),
        ("a rule with a reference", {"by": "rule", "reference": jnp.sin}, "no reference"),
        ("a number as reference", {"reference": 3}, "reference"),
        ("a name as reference", {"reference": "jax"}, "reference"),
        ("True as reference", {"reference": True}, "reference"),
        ("an unknown route", {"routes": "backwards"}, "routes"),
        ("no route", {"routes": ()}, "routes"),
        ("a number as routes", {"routes": 3}, "routes"),
        ("an unknown condition", {"under": "pmap"}, "under"),
        ("True as under", {"under": True}, "under"),
        ("one unknown condition among two", {"under": ("jit", "pmap")}, "pmap"),
        ("an unknown dtype", {"dtypes": "int8"}, "dtypes"),
        ("True as dtypes", {"dtypes": True}, "dtypes"),
        ("a dtype of NumPy that is none of the choices", {"dtypes": np.int32}, "dtypes"),
        ("no directions", {"directions": 0}, "directions"),
        ("minus one direction", {"directions": -1}, "directions"),
        ("a fraction of directions", {"directions": 1.5}, "directions"),
        ("text as directions", {"directions": "3"}, "directions"),
        ("True directions", {"directions": True}, "directions"),
        ("None as directions", {"directions": None}, "directions"),
        ("a negative seed", {"seed": -1}, "seed"),
        ("a fraction as seed", {"seed": 1.5}, "seed"),
        ("text as seed", {"seed": "0"}, "seed"),
        ("None as seed", {"seed": None}, "seed"),
        ("True as seed", {"seed": True}, "seed"),
        ("text as laws", {"laws": "no"}, "laws"),
        ("None as laws", {"laws": None}, "laws"),
        ("one as laws", {"laws": 1}, "laws"),
        ("text as cost", {"cost": "no"}, "cost"),
        ("one as cost", {"cost": 1}, "cost"),
        ("text as every_coordinate", {"every_coordinate": "no"}, "every_coordinate"),
        ("None as every_coordinate", {"every_coordinate": None}, "every_coordinate"),
        ("a keyword not known", {"tolerance": 1e-3}, "tolerance"),
        ("a keyword of finite differences", {"eps": 1e-3}, "eps"),
    )),
    Row("compare_gradients: no arguments", lambda: compare_gradients(relu), "x"),
    Row("compare_gradients: nothing at all", lambda: compare_gradients(), "f"),
    Row("compare_gradients: integers alone", lambda: compared(relu, jnp.arange(3))),
    Row("compare_gradients: text", lambda: compared(relu, "abc")),
    Row("compare_gradients: a list", lambda: compared(relu, [1.0, 2.0])),
    Row("compare_gradients: None", lambda: compared(relu, None)),
    Row("compare_gradients: f called", lambda: compare_gradients(relu(X)), "callable"),
    Row("compare_gradients: jax.grad of f", lambda: compared(jax.grad(lambda x: x.sum()), X), "reference"),
    Row("compare_gradients: no reference", lambda: compared(jnp.sin, X), "reference"),
    Row("compare_gradients: a reference of other arguments", lambda: compared(relu, X, reference=lambda: X),
        "reference"),
    Row("compare_gradients: a reference of another shape", lambda: compared(relu, X, reference=jnp.sum), "in common"),
    Row("compare_gradients: a class", lambda: compared(Dense, X), "Dense(...)"),
    Row("compare_gradients: a layer without its params", lambda: compared(Dense(3), X), "params, state, x"),
    Row("assert_gradients_match: a name", lambda: assert_gradients_match("relu", X), "callable"),
    Row("assert_gradients_match: no reference", lambda: assert_gradients_match(jnp.sin, X), "reference"),
    *(Row(f"parse: {text!r}", lambda text=text: parse(text), "character") for text in (
        "f32", "f32[", "f32[2", "f32[-1]", "f32[2.5]", "f32[a]", "i32[3]", "i32[3]<0", "i8[3]<300", "float32[3]", "{",
        "{weight f32[2]}", "{a: f32[2], a: f32[2]}", "(f32[2]", "f32[2]*", "f32[2]>1", "f32[2]<3", "keys", "f64[2]",
        ")",
        "f32[2]]", "f32[2] *", "c64[2]>0", "bool", "[2]")),
    Row("parse: a number", lambda: parse(3), "string"),
    Row("parse: None", lambda: parse(None), "string"),
    Row("parse: a negative seed", lambda: parse("f32[2]", -1), "seed"),
    Row("parse: text as seed", lambda: parse("f32[2]", "0"), "seed"),
    Row("parse: True as seed", lambda: parse("f32[2]", True), "seed"),
    Row("parse: a fraction as seed", lambda: parse("f32[2]", 0.5), "seed"),
    Row("parse: a negative size by name", lambda: parse("f32[n]", 0, {"n": -1}), "n"),
    Row("parse: text as a size", lambda: parse("f32[n]", 0, {"n": "3"}), "n"),
    Row("parse: a fraction as a size", lambda: parse("f32[n]", 0, {"n": 2.5}), "n"),
]


ROWS = [*NETWORKS, *LOOKS, *EXAMPLES, *COMPARISONS]
