"""Bad calls of layers, containers, initializers and summaries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    MaxPool,
    Parallel,
    Residual,
    Sequential,
    at_inference,
    concatenate,
    dense,
    initializers,
    over_examples,
    relu,
    summary,
)
from tests.bad_calls.row import Row

__all__ = ["ROWS"]

KEY = jax.random.key(0)
SIZES = {"zero": 0, "minus one": -1, "True": True, "False": False, "a fraction": 2.5, "a whole float": 8.0,
         "text": "8", "None": None, "a tuple": (8,), "an array": jnp.ones(3), "NaN": np.nan, "a class": int}
MAKERS = {"Dense": Dense, "Conv": Conv, "RNN": RNN, "GRU": GRU, "LSTM": LSTM,
          "Embedding": lambda n: Embedding(n, 2), "Embedding's n_dim": lambda n: Embedding(2, n)}
RATES = {"text": "0.5", "None": None, "one": 1.0, "minus one": -1, "NaN": np.nan, "True": True, "percent": 50,
         "an array": jnp.ones(2), "a complex number": 1j}
BOOLS = {"text": "no", "None": None, "one": 1, "a list": [True], "an initializer": initializers.he}

CONSTRUCTORS = [
    *(Row(f"{name}({kind})", lambda make=make, n=n: make(n)) for name, make in MAKERS.items() for kind,
      n in SIZES.items()),
    *(Row(f"Dropout({kind})", lambda rate=rate: Dropout(rate), "rate") for kind, rate in RATES.items()),
    *(Row(f"{name}(use_bias={kind})", lambda make=make, b=b: make(3, use_bias=b), "use_bias")
      for name, make in (("Dense", Dense), ("Conv", Conv), ("RNN", RNN), ("LSTM", LSTM), ("GRU", GRU))
      for kind, b in BOOLS.items()),
    *(Row(f"{name}(return_sequence={kind})", lambda make=make, b=b: make(3, return_sequence=b), "return_sequence")
      for name, make in (("RNN", RNN), ("LSTM", LSTM)) for kind, b in BOOLS.items()),
    *(Row(f"GRU(reset_after={kind})", lambda b=b: GRU(3, reset_after=b), "reset_after") for kind, b in BOOLS.items()),
    *(Row(f"BatchNorm({option}={kind})", lambda option=option, v=v: BatchNorm(**{option: v}), option)
      for option in ("momentum", "eps") for kind, v in {**RATES, "one": -2.0, "percent": -50}.items()),
    *(Row(f"BatchNorm({option}={kind})", lambda option=option, b=b: BatchNorm(**{option: b}), option)
      for option in ("use_scale", "use_bias") for kind, b in BOOLS.items()),
    *(Row(f"Conv(window={window!r})", lambda window=window: Conv(4, window), "window")
      for window in (3, (), (1, 1, 1, 1), (0, 3), (3.0, 3.0), "33", None, (True, True), ((3, 3),))),
    *(Row(f"Conv(stride={stride!r})", lambda stride=stride: Conv(4, stride=stride), "stride")
      for stride in (0, -1, 1.5, "2", None, (1, 2, 3), True, ())),
    *(Row(f"Conv(padding={padding!r})", lambda padding=padding: Conv(4, padding=padding), "padding")
      for padding in ("FULL", 0.5, None, (1, 2, 3), True, ((1, 2, 3), (1, 2, 3)))),
    *(Row(f"MaxPool(window={window!r})", lambda window=window: MaxPool(window), "window")
      for window in (0, -1, 1.5, "2", None, (), (1, 1, 1, 1), True)),
    *(Row(f"MaxPool(stride={stride!r})", lambda stride=stride: MaxPool(stride=stride), "stride")
      for stride in (0, -1, 1.5, "2", (1, 2, 3), True)),
    *(Row(f"MaxPool(padding={padding!r})", lambda padding=padding: MaxPool(padding=padding), "padding")
      for padding in ("FULL", -1, 0.5, None, True)),
    *(Row(f"Dense({option}={kind})", lambda option=option, v=v: Dense(3, **{option: v}), option)
      for option in ("weight_init", "bias_init") for kind, v in
      {"a name": "he", "a number": 0.1, "None": None, "an array": np.ones((2, 3))}.items()),
    Row("Conv(kernel_init=a name)", lambda: Conv(3, kernel_init="he"), "kernel_init"),
    Row("Embedding(table_init=an array)", lambda: Embedding(3, 2, table_init=np.ones((3, 2))), "table_init"),
    Row("RNN(weight_x_init=a name)", lambda: RNN(3, weight_x_init="xavier"), "weight_x_init"),
    Row("RNN(weight_h_init=None)", lambda: RNN(3, weight_h_init=None), "weight_h_init"),
    Row("Dense(8, 3), as in PyTorch", lambda: Dense(8, 3), "weight_init"),
    Row("Dense(), of no size", lambda: Dense(), "n_out"),
    Row("Dense(units=), as in Keras", lambda: Dense(units=3), "units"),
    Row("Dense(activation=), as in Keras", lambda: Dense(3, activation="relu"), "activation"),
    Row("Conv(3, 8, 3), as in PyTorch", lambda: Conv(3, 8, 3), "window"),
    Row("Conv(kernel_size=)", lambda: Conv(3, kernel_size=3), "kernel_size"),
    Row("LSTM(8, 16), as in PyTorch", lambda: LSTM(8, 16), "return_sequence"),
    Row("Embedding of one size", lambda: Embedding(3), "n_dim"),
    Row("BatchNorm(32), as in PyTorch", lambda: BatchNorm(32), "momentum"),
    Row("Dropout(), of no rate", lambda: Dropout(), "rate"),
    Row("Flatten(1)", lambda: Flatten(1)),
    Row("random_normal(text)", lambda: initializers.random_normal("0.1"), "scale"),
    Row("random_normal(minus one)", lambda: initializers.random_normal(-1.0), "scale"),
    Row("random_normal(None)", lambda: initializers.random_normal(None), "scale"),
    Row("random_normal(NaN)", lambda: initializers.random_normal(np.nan), "scale"),
    Row("random_normal(key)", lambda: initializers.random_normal(KEY), "scale"),
]

SHAPES = {"None": None, "an integer": 4, "text": "4", "a batch axis": (None, 4), "zero": (0,), "minus one": (-1,),
          "a fraction": (2.5,), "True": (True,), "a list of text": ["4"], "a float": (4.0,)}
KEYS = {"an integer": 0, "None": None, "text": "0", "two keys": jax.random.split(KEY), "a float": 0.5,
        "an array": jnp.ones(2), "a NumPy seed": np.int64(3), "a generator": np.random.default_rng(0)}
WITH_PARAMS = {"Dense": (Dense(3), (4,)), "Conv": (Conv(2), (4, 4, 1)), "LSTM": (LSTM(2), (5, 3)),
               "Embedding": (Embedding(4, 2), (3,)), "Sequential": (Sequential(Dense(3), relu), (4,)),
               "over_examples": (over_examples(Dense(3)), (2, 4)), "Residual": (Residual(Dense(4)), (4,))}

INIT = [
    *(Row(f"{name}.init with {kind} as shape", lambda layer=layer, s=s: layer.init(KEY, s))
      for name, (layer, _) in WITH_PARAMS.items() for kind, s in SHAPES.items()),
    *(Row(f"{name}.init with {kind} as key", lambda layer=layer, shape=shape, k=k: layer.init(k, shape), "key")
      for name, (layer, shape) in WITH_PARAMS.items() for kind, k in KEYS.items()),
    *(Row(f"{name}.init of the arguments swapped", lambda layer=layer, shape=shape: layer.init(shape, KEY))
      for name, (layer, shape) in WITH_PARAMS.items()),
    Row("Dense.init of an image", lambda: Dense(3).init(KEY, (8, 8, 3)), "Flatten()"),
    Row("Conv.init of a vector", lambda: Conv(3).init(KEY, (8,)), "spatial axes"),
    Row("Conv.init of a batch", lambda: Conv(3).init(KEY, (32, 8, 8, 3)), "spatial axes"),
    Row("LSTM.init of a vector", lambda: LSTM(3).init(KEY, (8,)), "time"),
    Row("MaxPool.init of a window larger than x", lambda: MaxPool(9).init(KEY, (4, 4, 1)), "window"),
    Row("Conv.init where nothing fits", lambda: Conv(3, padding="VALID").init(KEY, (2, 2, 1)), "padding"),
    Row("Sequential.init where the parts do not fit", lambda: Sequential(Conv(2), Dense(3)).init(KEY, (4, 4, 1)),
        "Flatten()"),
    Row("Residual.init of another shape", lambda: Residual(Dense(3)).init(KEY, (4,)), "shortcut"),
    Row("over_examples.init of one example", lambda: over_examples(Dense(3)).init(KEY, ()), "shape"),
    Row("over_examples(function).init", lambda: over_examples(lambda p, s, x, k, train: (x, s)).init(KEY, (2, 3)),
        "init"),
    Row("Dense whose initializer returns another shape",
        lambda: Dense(3, weight_init=lambda key, shape, dtype=None: jnp.ones(5)).init(KEY, (4,)), "weight_init"),
    Row("Dense whose initializer returns NumPy text",
        lambda: Dense(3, bias_init=lambda key, shape, dtype=None: "zeros").init(KEY, (4,)), "bias_init"),
    Row("Conv whose initializer returns integers",
        lambda: Conv(3, kernel_init=lambda key, shape, dtype=None: jnp.ones(shape, int)).init(KEY, (4, 4, 1)),
        "kernel"),
    Row("a layer whose init returns params only", lambda: Sequential(_only_params(), relu).init(KEY, (4,)),
        "(params, state)"),
    Row("a layer without apply", lambda: type("Mine", (Layer,), {})().init(KEY, (4,)), "apply"),
    Row("a layer whose apply returns y only", lambda: Sequential(_only_y()).init(KEY, (4,)), "(y, state)"),
    Row("summary of a layer without shape", lambda: summary(Dense(3)), "shape"),
    Row("summary of a bad shape", lambda: summary(Dense(3), (None, 4)), "batch axis"),
    Row("summary of a number", lambda: summary(3), "function"),
    Row("summary of a class", lambda: summary(Dense, (3,))),
    Row("summary of text", lambda: summary("Dense", (3,)), "function"),
    Row("summary of an op without arguments", lambda: summary(dense), "dense"),
]


def _only_params():
    class OnlyParams(Layer):
        def init(self, key, shape):
            return {"weight": jnp.ones(4)}

        def apply(self, params, state, x, key, *, train):
            return x * params["weight"], state

    return OnlyParams()


def _only_y():
    class OnlyY(Layer):
        def apply(self, params, state, x, key, *, train):
            return x

    return OnlyY()


CONTAINERS = [
    Row("Sequential()", lambda: Sequential(), "at least one"),
    Row("Parallel()", lambda: Parallel(), "at least one"),
    Row("Residual()", lambda: Residual(), "body"),
    Row("Sequential of a list", lambda: Sequential([Dense(3), relu]), "layer"),
    Row("Sequential of a class", lambda: Sequential(Dense), "write Dense(...)"),
    Row("Sequential of an op with params", lambda: Sequential(dense), "dense"),
    Row("Sequential of a name", lambda: Sequential("relu"), "relu"),
    Row("Sequential of an activation called", lambda: Sequential(relu(jnp.ones(3)))),
    Row("Sequential of None", lambda: Sequential(None)),
    Row("Sequential of sizes", lambda: Sequential(8, 3)),
    Row("Sequential of both kinds", lambda: Sequential(Dense(3), head=Dense(2)), "positional or named"),
    Row("Sequential of a dict", lambda: Sequential({"head": Dense(3)})),
    Row("Residual of three", lambda: Residual(Dense(3), Dense(3), Dense(3))),
    Row("Residual of a number", lambda: Residual(3)),
    Row("at_inference of a class", lambda: at_inference(Dropout), "Dropout(...)"),
    Row("at_inference of a number", lambda: at_inference(3)),
    Row("over_examples of a class", lambda: over_examples(Dense), "Dense(...)"),
    Row("over_examples of a number", lambda: over_examples(3)),
    Row("over_examples of a list", lambda: over_examples([Dense(3)])),
]

NET = Sequential(hidden=Dense(3), drop=Dropout(0.5), head=Dense(2))


@functools.cache
def made():
    return NET.init(KEY, (4,))


X, BATCH = jnp.ones(4), jnp.ones((6, 4))
CALLS = [
    Row("net(x)", lambda: NET(X), "params, state, x"),
    Row("net(params, x)", lambda: NET(made()[0], X), "y, state = layer(params, state, x)"),
    Row("net()", lambda: NET(), "params, state, x"),
    Row("net(params, x, key)", lambda: NET(made()[0], X, KEY), "state"),
    Row("net(variables, x, train), as in Flax", lambda: NET({"params": made()[0]}, {}, X), "hidden"),
    Row("net with init's pair as params", lambda: NET(made(), {}, X), "params"),
    Row("net with init's pair as params, and x", lambda: NET(made(), X), "params, state, x"),
    Row("net of a batch", lambda: NET(*made(), BATCH), "over_examples"),
    Row("net of one example over examples", lambda: over_examples(NET)(*made(), X), "hidden"),
    Row("net in training without a key", lambda: NET(*made(), X, train=True), "PRNG key"),
    Row("net in training with a seed", lambda: NET(*made(), X, 0, train=True), "PRNG key"),
    Row("net with a key of text", lambda: NET(*made(), X, "0", train=True), "PRNG key"),
    Row("net with several keys", lambda: NET(*made(), X, jax.random.split(KEY), train=True), "one PRNG key"),
    Row("net with train by position", lambda: NET(*made(), X, None, True)),
    Row("net with train of text", lambda: NET(*made(), X, train="yes"), "train"),
    Row("net with train of 1", lambda: NET(*made(), X, train=1), "train"),
    Row("net with train None", lambda: NET(*made(), X, train=None), "train"),
    Row("net with training=", lambda: NET(*made(), X, training=True), "training"),
    Row("net with x of another size", lambda: NET(*made(), jnp.ones(5)), "hidden"),
    Row("net with x a list", lambda: NET(*made(), [1.0] * 4), "hidden"),
    Row("net with x None", lambda: NET(*made(), None), "hidden"),
    Row("net with x of text", lambda: NET(*made(), "abc"), "hidden"),
    Row("net with x of integers", lambda: NET(*made(), jnp.ones(4, int)), "hidden"),
    Row("net with params None", lambda: NET(None, {}, X), "params"),
    Row("net with params a list", lambda: NET(list(made()[0].values()), {}, X), "params"),
    Row("net with params of another network", lambda: NET({"conv1": {}}, {}, X), "conv1"),
    Row("net with a part's params missing", lambda: NET({"hidden": made()[0]["hidden"]}, {}, X), "head"),
    Row("net with a part's params None", lambda: NET(made()[0] | {"head": None}, {}, X), "head"),
    Row("net with a part's params an array", lambda: NET(made()[0] | {"head": jnp.ones(3)}, {}, X), "head"),
    Row("net with state None", lambda: NET(made()[0], None, X), "state"),
    Row("net with state a key", lambda: NET(made()[0], KEY, X), "state"),
    Row("net with params and state swapped", lambda: NET({}, made()[0], X), "hidden"),
    Row("net with a part too many", lambda: NET(made()[0] | {"tail": {}}, {}, X), "tail"),
    Row("Dense of another size", lambda: Dense(5)(made()[0]["hidden"], {}, X), "Dense"),
    Row("Embedding of floats", lambda: Embedding(4, 2)({"table": jnp.ones((4, 2))}, {}, jnp.ones(3)), "integer"),
    Row("Embedding out of range", lambda: Embedding(4, 2)({"table": jnp.ones((4, 2))}, {}, jnp.array([7])), "7"),
    Row("BatchNorm without a batch", lambda: BatchNorm()({}, {"mean": X, "variance": X}, X, train=True),
        "over_examples"),
    Row("BatchNorm without state", lambda: BatchNorm()({}, {}, X), "mean"),
    Row("Dropout without a key", lambda: Dropout(0.5)({}, {}, X, train=True), "PRNG key"),
    Row("over_examples without a batch", lambda: over_examples(relu_layer())({}, {}, 1.0), "leading axis"),
    Row("over_examples of no examples", lambda: over_examples(relu_layer())({}, {}, jnp.ones((0, 3))), "at least one"),
    Row("over_examples with x None", lambda: over_examples(relu_layer())({}, {}, None), "leading axis"),
    Row("over_examples with x of text", lambda: over_examples(relu_layer())({}, {}, "abc")),
    Row("over_examples with unequal leaves", lambda: over_examples(Sequential(concatenate))({}, {}, (BATCH, X)),
        "alike"),
    Row("over_examples with a seed as key", lambda: over_examples(NET)(*made(), BATCH, 0, train=True), "PRNG key"),
    Row("over_examples of x alone", lambda: over_examples(NET)(BATCH), "params, state, x"),
    Row("Residual whose branches differ", lambda: Residual(Dense(3))({"body": made()[0]["hidden"]}, {}, X), "shortcut"),
]


def relu_layer():
    return Sequential(relu)


ACCEPTED = {
    "NumPy integers as sizes": lambda: Sequential(Dense(np.int64(3)), Dense(np.uint8(2))).init(KEY, (np.int32(4),)),
    "NumPy integers in a window": lambda: Conv(np.int64(2), (np.int32(3), np.int16(3)), stride=np.int64(1),
                                               padding=np.int64(1)).init(KEY, (4, 4, 1)),
    "lists in a window": lambda: Conv(2, [3, 3], padding=[[1, 1], [1, 1]]).init(KEY, [4, 4, 1]),
    "a size found in the data": lambda: Embedding(np.array([3, 1]).max() + 1, 2).init(KEY, (3,)),
    "an older key": lambda: Dense(3).init(jax.random.PRNGKey(0), (4,)),
    "a NumPy rate": lambda: Dropout(np.float32(0.5)),
    "a NumPy bool": lambda: Dense(3, use_bias=np.bool_(False)),
}

ROWS = [*CONSTRUCTORS, *INIT, *CONTAINERS, *CALLS]
