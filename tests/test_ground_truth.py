"""The numbers that the course prints, recomputed with the library's ops in float64.

One function for each of the course's; each case is compared within its own tolerance. The cases
whose runs take a data set are in test_ground_truth_runs.py and with the experiments.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ops
from tests import course
from tests.course import as_course, columns, cost, dense_params, network

CASES = course.load()
HANDLERS = {}
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")

# Of courses 1 and 2, what no op of this library computes: data handling and plain formulas of the course.
NOT_OURS = {
    "c1w2a1.normalizeRows": "no op", "c2w1.gradcheck_1d": "round-off of a finite difference",
    "c2w2.minibatches": "batches belong to the data module", "c2w2.schedule_lr_decay": "a schedule of optax",
}


def handles(*ids):
    def register(function):
        HANDLERS.update(dict.fromkeys(ids, function))
        return function

    return register


@handles("c1w2a1.basic_sigmoid", "c1w2a1.sigmoid")
def sigmoid(x):
    return ops.sigmoid(jnp.asarray(x, float))


@handles("c1w2a1.image2vector")
def image2vector(x):
    return ops.flatten(jnp.asarray(x))[:, None]


@handles("c1w2a1.softmax")
def softmax(x):
    return ops.softmax(jnp.asarray(x, float))


def logistic(w, b, X, Y):
    op, params = network({"W1": w.T, "b1": jnp.reshape(b, 1)}, ops.relu)
    value, [grads] = jax.value_and_grad(lambda p: cost(op, p, X, Y))(params)
    return value, {"dw": grads["weight"].T, "db": grads["bias"][0]}


@handles("c1w2a2.propagate.2021_test", "c1w2a2.propagate.2021_notebook", "c1w2a2.propagate.2017_notebook")
def propagate(w, b, X, Y):
    value, grads = logistic(w, b, X, Y)
    return {"grads": grads, "cost": value}


@handles("c1w2a2.optimize.2021_notebook", "c1w2a2.optimize.2018-20_notebook")
def optimize(w, b, X, Y, num_iterations, learning_rate):
    def step(carry, _):
        w, b, _ = carry
        value, grads = logistic(w, b, X, Y)
        return (w - learning_rate * grads["dw"], b - learning_rate * grads["db"], grads), value

    start = (jnp.asarray(w), jnp.asarray(b), {"dw": jnp.zeros_like(w), "db": jnp.zeros(())})
    (w, b, grads), costs = jax.lax.scan(step, start, length=int(num_iterations))
    return {"params": {"w": w, "b": b}, "last_grads": grads, "costs_every_100": costs[::100]}


@handles("c1w2a2.predict.test", "c1w2a2.predict.notebook")
def predict_logistic(w, b, X):
    return columns(ops.dense, shared=1)(dense_params(w.T, np.asarray([b])), X) > 0


@handles("c1w3.init.3_5_2")
def init_two_layers(n_x, n_h, n_y):
    return {k: v for k, v in course.initial((n_x, n_h, n_y), 2, lambda n: 0.01).items() if k[0] == "W"}


@handles("c1w3.forward")
def forward_tanh(X, **weights):
    Z1 = columns(ops.dense, shared=1)(dense_params(weights["W1"], weights["b1"]), X)
    A1 = ops.tanh(Z1)
    Z2 = columns(ops.dense, shared=1)(dense_params(weights["W2"], weights["b2"]), A1)
    return {"Z1": Z1, "A1": A1, "Z2": Z2, "A2": ops.sigmoid(Z2)}


@handles("c1w3.cost.notebook")
def cost_of_probabilities(A2, Y):
    """The op takes logits: log p / (1 - p)."""
    logits = jnp.log(A2) - jnp.log1p(-A2)
    return jnp.mean(jax.vmap(ops.binary_cross_entropy)(logits[0], Y[0]))


def layer_backward(W, A_prev, dZ):
    """dW, db, dA_prev of the mean cost, from the explicit backward of one dense layer."""
    _, cache = jax.vmap(ops.dense.forward, (None, 0))(dense_params(W, np.zeros(W.shape[0])),
                                                      jnp.asarray(A_prev).T)
    m = A_prev.shape[1]
    dparams, dx = jax.vmap(ops.dense.backward)(cache, dZ.T)
    return jnp.sum(dparams["weight"], 0) / m, jnp.sum(dparams["bias"], 0)[:, None] / m, dx.T


@handles("c1w3.backward.test")
def backward_tanh(X, Y, cache, W1, W2):
    """The caches are arbitrary numbers, so the passes are called one by one."""
    dZ2 = jnp.asarray(cache["A2"]) - Y
    dW2, db2, dA1 = layer_backward(W2, cache["A1"], dZ2)
    (dZ1,) = ops.tanh.backward(jnp.asarray(cache["A1"]), dA1)
    dW1, db1, _ = layer_backward(W1, X, dZ1)
    return {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}


@handles("c1w3.update", "c1w4.update")
def update(params, grads, learning_rate):
    grads = {name: grads.get(f"d{name}", grads.get(name)) for name in params}
    return gradient_descent(optax.sgd(learning_rate), params, grads)


def gradient_descent(optimizer, params, grads):
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return optax.apply_updates(jax.tree.map(jnp.asarray, params), updates)


def train(op, params, X, Y, learning_rate, steps, **options):
    def step(params, _):
        value, grads = jax.value_and_grad(lambda p: cost(op, p, X, Y, **options))(params)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), value

    return jax.jit(lambda params: jax.lax.scan(step, params, length=steps))(params)


@handles("c1w3.nn_model.2021")
def nn_model(X, Y, n_h):
    op, params = network(course.initial((X.shape[0], int(n_h), 1), 3, lambda n: 0.01), ops.tanh)
    return as_course(train(op, params, X, Y, 1.2, 10_000)[0])


@handles("c1w3.predict")
def predict(X, **weights):
    op, params = network(weights, ops.tanh)
    return columns(op, shared=1)(params, X) > 0


@handles("c1w4.init", "c1w4.init_deep")
def init(layer_dims=None, **sizes):
    deep = layer_dims is not None
    dims = layer_dims if deep else (sizes["n_x"], sizes["n_h"], sizes["n_y"])
    return course.initial(dims, 3 if deep else 1, lambda n: 0.01)


@handles("c1w4.linear_forward", "c2w3.linear_function")
def linear_forward(W, b, A=None, X=None):
    return columns(ops.dense, shared=1)(dense_params(W, b), A if X is None else X)


@handles("c1w4.linear_activation_forward.relu")
def linear_activation_forward(A_prev, W, b, activation):
    return getattr(ops, activation)(linear_forward(W, b, A_prev))


@handles("c1w4.L_model_forward")
def model_forward(X, **weights):
    A, Z = jnp.asarray(X), []
    for i in (1, 2, 3):
        Z.append(columns(ops.dense, shared=1)(dense_params(weights[f"W{i}"], weights[f"b{i}"]), A))
        A = ops.relu(Z[-1])
    op, params = network(weights, ops.relu)
    np.testing.assert_allclose(columns(op, shared=1)(params, X), Z[-1], rtol=1e-13)
    return {"AL": ops.sigmoid(Z[-1]), "Z": Z}


def activation_backward(activation, Z, dA):
    _, cache = activation.forward(jnp.asarray(Z))
    return activation.backward(cache, jnp.asarray(dA))[0]


@handles("c1w4.linear_activation_backward.sigmoid")
def linear_activation_backward(dA, A_prev, W, b, Z, activation):
    dW, db, dA_prev = layer_backward(W, A_prev, activation_backward(getattr(ops, activation), Z, dA))
    return {"dA_prev": dA_prev, "dW": dW, "db": db}


@handles("c1w4.L_model_backward")
def model_backward(AL, Y, caches):
    ((A0, W1, _), Z1), ((A1, W2, _), Z2) = caches
    dAL = -Y / AL + (1 - Y) / (1 - AL)
    dW2, db2, dA1 = layer_backward(W2, A1, activation_backward(ops.sigmoid, Z2, dAL))
    dW1, db1, dA0 = layer_backward(W1, A0, activation_backward(ops.relu, Z1, dA1))
    return {"dA1": dA1, "dW2": dW2, "db2": db2, "dA0": dA0, "dW1": dW1, "db1": db1}


@handles("c1w4.two_layer_model.0", "c1w4.L_layer_model.0")
def layers_model(X, Y, layers_dims, learning_rate, num_iterations):
    """randn * 0.01 for two layers, randn / sqrt(n_in) for more. The Y of the first is noise, which the
    library's loss refuses as labels: there the formula is written out."""
    deep = len(layers_dims) > 3
    op, params = network(course.initial(layers_dims, 1, lambda n: 1 / np.sqrt(n) if deep else 0.01), ops.relu)

    def course_cost(params):
        if deep:
            return cost(op, params, X, Y)
        z = columns(op, shared=1)(params, X)
        return jnp.mean(ops.softplus(z) - Y * z)

    costs = []
    for _ in range(num_iterations):
        value, grads = jax.value_and_grad(course_cost)(params)
        costs.append(value)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return {"params": as_course(params), "cost0": costs[0]}


@handles("c2w1.init_he.test")
def init_he(layer_dims):
    return course.initial(layer_dims, 3, lambda n: np.sqrt(2 / n))


def three_layers_back(X, Y, W1, W2, W3, A1, A2, A3, l2=0.0, masks=(1.0, 1.0)):
    """The passes one by one from the caches given; masks are D / keep_prob, the derivative of dropout."""
    m = X.shape[1]
    dZ3 = jnp.asarray(A3) - Y
    dW3, db3, dA2 = layer_backward(W3, A2, dZ3)
    dA2 = dA2 * masks[1]
    dZ2 = activation_backward(ops.relu, A2, dA2)  # relu(A) = A, so A does for Z
    dW2, db2, dA1 = layer_backward(W2, A1, dZ2)
    dA1 = dA1 * masks[0]
    dZ1 = activation_backward(ops.relu, A1, dA1)
    dW1, db1, _ = layer_backward(W1, X, dZ1)
    decay = jax.grad(lambda W: l2 / (2 * m) * sum(jnp.sum(w**2) for w in W))
    dW1, dW2, dW3 = jax.tree.map(jnp.add, [dW1, dW2, dW3],
                                 decay([jnp.asarray(W, float) for W in (W1, W2, W3)]))
    return {"dZ3": dZ3, "dW3": dW3, "db3": db3, "dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1,
            "dZ1": dZ1, "dW1": dW1, "db1": db1}


@handles("c2w1.backward_l2")
def backward_l2(lambd, **inputs):
    return three_layers_back(**inputs, l2=lambd)


def dropped(A, D, keep_prob):
    """The op's backward with the course's mask in its cache: y is linear in x, with the same slope."""
    from jaxnn import Static

    return ops.dropout.backward((jnp.asarray(D, bool), Static(1 - keep_prob)), jnp.asarray(A))[0]


@handles("c2w1.forward_dropout")
def forward_dropout(X, params, keep_prob, D1, D2):
    layer = columns(ops.dense, shared=1)
    Z1 = layer(dense_params(params["W1"], params["b1"]), X)
    A1 = dropped(ops.relu(Z1), D1, keep_prob)
    Z2 = layer(dense_params(params["W2"], params["b2"]), A1)
    A2 = dropped(ops.relu(Z2), D2, keep_prob)
    Z3 = layer(dense_params(params["W3"], params["b3"]), A2)
    return {"A3": ops.sigmoid(Z3), "Z1": Z1, "D1": D1, "A1": A1, "Z2": Z2, "D2": D2, "A2": A2, "Z3": Z3}


@handles("c2w1.backward_dropout")
def backward_dropout(keep_prob, D1, D2, **inputs):
    masks = [dropped(np.ones(D.shape), D, keep_prob) for D in (D1, D2)]
    return three_layers_back(**inputs, masks=masks)


@handles("c2w2.momentum")
def momentum(params, grads, v0, beta, learning_rate):
    """The course averages, v = β v + (1 - β) g; optax sums, so the gradient is scaled before."""
    optimizer = optax.chain(optax.scale(1 - beta), optax.trace(beta), optax.scale(-learning_rate))
    opt_state = optimizer.init(params)
    updates, opt_state = optimizer.update(grads, opt_state)
    return {"params": optax.apply_updates(params, updates),
            "v": {f"d{k}": v for k, v in opt_state[1].trace.items()}}


@handles("c2w2.adam.2018", "c2w2.adam.2021")
def adam(params, grads, v0, s0, t, learning_rate, beta1, beta2, epsilon):
    """eps outside of the root, as in optax.adam. The moments are zero but the step is already the t-th."""
    optimizer = optax.adam(learning_rate, beta1, beta2, epsilon)
    opt_state = optimizer.init(params)
    opt_state = (opt_state[0]._replace(count=jnp.asarray(t - 1, jnp.int32)), *opt_state[1:])
    updates, opt_state = optimizer.update(grads, opt_state)
    moments = opt_state[0]
    return {"params": optax.apply_updates(params, updates), "s": moments.nu,
            "v_row0": {k: v[0] for k, v in moments.mu.items()},
            "s_row0": {k: v[0] for k, v in moments.nu.items()}}


@handles("c2w3.sigmoid_xent.2017")
def sigmoid_cross_entropy(logits, labels):
    return jax.vmap(ops.binary_cross_entropy)(logits, labels)


@handles("c2w3.softmax_xent")
def softmax_cross_entropy(logits_classes_by_batch, labels):
    losses = jax.vmap(ops.softmax_cross_entropy)(logits_classes_by_batch.T, labels)
    return {"mean": jnp.mean(losses), "per_example": losses}


@handles("c2w3.one_hot")
def one_hot(labels, C):
    """Read off the gradient of the loss, p - one_hot, at uniform p."""
    gradient = jax.vmap(jax.grad(ops.softmax_cross_entropy))(jnp.zeros((len(labels), int(C))), labels)
    return (1 / C - gradient).T


def assert_within(got, want, tolerance, path=""):
    """|got - want| <= tolerance · max(1, max|want|), for each array of the expected tree."""
    if isinstance(want, dict):
        for name in want:
            assert_within(got[name], want[name], tolerance, f"{path}/{name}")
    elif isinstance(want, list):
        assert len(got) == len(want), path
        for i, (a, b) in enumerate(zip(got, want)):
            assert_within(a, b, tolerance, f"{path}/{i}")
    else:
        a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
        assert a.shape == b.shape, path
        error = np.abs(a - b).max(initial=0.0)
        assert error <= tolerance * max(1.0, np.abs(b).max(initial=0.0)), f"{path}: off by {error}"


@pytest.mark.parametrize("name", list(HANDLERS))
@pytest.mark.usefixtures("x64")
def test_case(name):
    case = CASES[name]
    assert_within(HANDLERS[name](**case["inputs"]), case["expected"], case["tolerance"]["rel_to_max_abs"])


def test_every_case_of_courses_1_and_2_is_taken():
    ids = {name for name in CASES if name.startswith(("c1w", "c2w"))}
    assert ids == set(HANDLERS) | set(NOT_OURS)
