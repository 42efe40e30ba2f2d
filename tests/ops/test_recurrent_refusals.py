"""What recurrent networks refuse: arguments that do not fit, and mistakes in a cell."""

import re

import jax
import jax.numpy as jnp
import pytest

from jaxnn.ops import cell, gru, gru_reset_after, lstm, over_time, rnn
from tests.ops.recurrent_networks import NETS, make, mgu


def parameters(net, **changed):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), make(NETS[net], 1)[0]) | changed


P, X = parameters("lstm"), jnp.ones((4, 2))
ENTRIES = "{'weight_h': (4*n_hidden, n_hidden), 'weight_x': (4*n_hidden, n_in), 'bias': (4*n_hidden,) or None}"


@pytest.mark.parametrize(("op", "args", "words"), [
    (lstm, (P, jnp.ones((4, 3))), "lstm expects x of shape (time, 2); got (4, 3)"),
    (lstm, (P, jnp.ones(2)), "lstm expects x of shape (time, 2); got (2,)"),
    (lstm, (P, jnp.ones((0, 2))), "lstm expects at least one time step; got (0, 2)"),
    (lstm, (P, jnp.ones((4, 2), int)), "lstm expects floating-point x; got int32"),
    (lstm, (P | {"bias": jnp.ones(3)}, X), "lstm expects bias of shape (12,); got (3,)"),
    (lstm, (P | {"weight_x": jnp.ones((3, 2))}, X), "lstm expects weight_x of shape (12, n_in); got (3, 2)"),
    (lstm, (P | {"weight_h": jnp.ones((9, 3))}, X),
     "lstm expects weight_h of shape (4*n_hidden, n_hidden); got (9, 3)"),
    (lstm, (P | {"weight_h": jnp.ones(9)}, X), "lstm expects weight_h of shape (4*n_hidden, n_hidden); got (9,)"),
    (lstm, (P | {"weight_h": jnp.ones((12, 3), int)}, X), "lstm expects floating-point weight_h; got int32"),
    (lstm, ({"bias": jnp.ones(3)}, X), f"lstm expects params to be {ENTRIES}; got keys ['bias']"),
    (lstm, (P | {"bais": jnp.ones(3)}, X), "lstm expects params to be"),
    (lstm, (P | {"weight_h": None}, X), f"lstm expects params to be {ENTRIES}; got None for ['weight_h']"),
    (lstm, ((P,), X), f"lstm expects params to be {ENTRIES}; got tuple"),
    (lstm, (P, X, (jnp.ones(2), jnp.ones(3))), "lstm expects h_0 of shape (3,); got (2,)"),
    (lstm, (P, X, (jnp.ones(3), jnp.ones(4))), "lstm expects c_0 of shape (3,); got (4,)"),
    (lstm, (P, X, (jnp.ones(3), jnp.ones(3, int))), "lstm expects floating-point c_0; got int32"),
    (lstm, (P, X, jnp.ones(3)), "lstm expects initial to be (h_0, c_0); got"),
    (rnn, (parameters("rnn"), X, (jnp.ones(3),)), "rnn expects initial to be h_0, an array; got h_0, a tuple"),
    (rnn, (parameters("rnn"), X, None, jnp.ones(4)), "rnn expects mask, an array of bool; got float32; "
     "True stands for a step that counts"),
    (rnn, (parameters("rnn"), X, None, [True] * 4), "rnn expects mask, an array of bool; got list"),
    (rnn, (parameters("rnn"), X, None, jnp.ones((4, 2), bool)), "rnn expects mask of shape (4,); got (4, 2)"),
    (gru, (parameters("gru_reset_after"), X), "gru expects params to be {'weight_h': (3*n_hidden, n_hidden), "
     "'weight_x': (3*n_hidden, n_in), 'bias': (3*n_hidden,) or None}; "
     "got keys ['bias', 'bias_h', 'weight_h', 'weight_x']"),
    (gru_reset_after, (parameters("gru", bias_h=jnp.ones(4)), X),
     "gru_reset_after expects bias_h of shape (3,); got (4,)"),
    (mgu, (parameters("rnn"), X), "minimal_gated_unit expects weight_h of shape (2*n_hidden, n_hidden); got (3, 3)"),
])
def test_errors(op, args, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        op(*args)


def test_reverse_is_true_or_false():
    with pytest.raises(ValueError, match="lstm expects reverse to be True or False; got 'yes'"):
        lstm(P, X, reverse="yes")


def broken(step=None, backward=None, products=None):
    """A cell with one mistake."""
    plain = lambda params, h, z: (jnp.tanh(z + h @ params["weight_h"].T), ())  # noqa: E731
    made = cell(state="h", params={"weight_x": "n_hidden n_in", "weight_h": "n_hidden n_hidden"})(step or plain)
    made.name = made.__name__ = "broken"
    if backward is not None:
        made.defbackward(backward)
    if products is not None:
        made.defproducts(products)
    return over_time(made)


@pytest.mark.parametrize(("op", "words"), [
    (broken(lambda params, h, z: (z[:2], ()), lambda params, step, dh: (dh, dh)),
     r"broken expects its step to return a state \(h\) of float32\[3\]; got float32\[2\]"),
    (broken(lambda params, h, z: ((h, h), ()), lambda params, step, dh: (dh, dh)),
     r"broken expects its step to return a state \(h\) of float32\[3\]; got PyTreeDef"),
    (broken(backward=lambda params, step, dh: (dh, dh[:1])),
     r"broken expects its backward to return a state \(h\) of float32\[3\]; got float32\[1\]"),
    (broken(backward=lambda params, step, dh: (dh[:1], dh)),
     r"broken expects dz of the cell's backward pass of shape \(4, 3\); got \(4, 1\)"),
    (broken(backward=lambda params, step, dh: (dh, dh), products=lambda h, step, dz: {"weight": dz}),
     r"broken expects its products to hold \['weight_h'\]; got \['weight'\]; give them by @broken.defproducts"),
    (broken(backward=lambda params, step, dh: (dh + 1, dh)), "backward of 'broken' is not linear in dy"),
])
def test_errors_in_a_cell(op, words):
    params = {name: a for name, a in parameters("rnn").items() if name != "bias"}
    with pytest.raises((TypeError, ValueError), match=words):
        jax.grad(lambda p: op(p, X)[0].sum())(params)
    with pytest.raises(TypeError, match=r"the cell 'broken' has no backward pass; write it under @broken\.defbackward"):
        broken()
    with pytest.raises(ValueError, match=r"cell expects params to name 'weight_x', which makes z; got \['W'\]"):
        cell(state="h", params={"W": "n_hidden n_in"})
    with pytest.raises(ValueError, match="cell expects a parameter whose shape names n_hidden; got"):
        cell(state="h", params={"weight_x": "m n"})
