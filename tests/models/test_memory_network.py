"""Memory networks beside NumPy loops and PyTorch's gradient; laws of the facts' order and padding; what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, over_examples
from jaxnn.models import memory_network, response_network
from jaxnn.models.memory_network import ResponseNetwork, position_weights

KEY = jax.random.key(0)
SHAPE = {"facts": (4, 3), "n_facts": (), "question": (3,)}
X = {"facts": np.array([[1, 2, 3], [4, 5, 0], [2, 2, 6], [0, 0, 0]]), "n_facts": np.array(3),
     "question": np.array([3, 1, 0])}
CANDIDATES, ENTITIES = [[1, 2, 0], [3, 0, 0], [5, 7, 1]], [[2, 0], [0, 3], [0, 7]]
POSITION, BAG = (memory_network(9, 4, 2, most_facts=5, encoding=encoding) for encoding in ("position", "bag"))
RESPONSES = response_network(9, CANDIDATES, 4, 2, most_facts=5, entities=ENTITIES)
NETS = {"position": POSITION, "bag": BAG, "responses": RESPONSES}


def drawn(net, seed=0):
    params, rng = jax.eval_shape(lambda: net.init(KEY, SHAPE))[0], np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape) * 0.5, params)


def sentence(table, words, encoding):
    words = [int(w) for w in words if w != 0]
    n = table.shape[1]
    total = np.zeros(n)
    for j, word in enumerate(words, 1):
        for d in range(1, n + 1):
            weight = 1 if encoding == "bag" else (1 - j / len(words)) - d / n * (1 - 2 * j / len(words))
            total[d - 1] += weight * table[word][d - 1]
    return total


def loops(net, p, x):
    """(logits, weights) of one example, sentence by sentence."""
    adjacent = net is not RESPONSES
    encoding = net.encoding if adjacent else "bag"
    n = int(x["n_facts"])
    tables = p["words"] if adjacent else [p["words"]] * (net.hops + 1)
    ages = p["ages"] if adjacent else [p["ages"]] * (net.hops + 1)
    u, weights = sentence(tables[0], x["question"], encoding), []
    for hop in range(net.hops):
        keys, values = ([sentence(tables[k], x["facts"][i], encoding) + ages[k][n - 1 - i] for i in range(n)]
                        for k in (hop, hop + 1))
        e = np.exp([u @ key for key in keys])
        weights.append(np.pad(e / e.sum(), (0, len(x["facts"]) - n)))
        o = sum(w * value for w, value in zip(e / e.sum(), values, strict=True))
        u = u + (o if adjacent else p["hop"]["weight"] @ o)
    if adjacent:
        return tables[-1] @ u, np.stack(weights)
    present = ({int(w) for fact in x["facts"][:n] for w in fact} | set(x["question"].tolist())) - {0}
    logits = []
    for words, entities in zip(CANDIDATES, ENTITIES, strict=True):
        y = sentence(p["responses"], words, "bag")
        y = y + sum((p["matches"][kind] for kind, word in enumerate(entities) if word in present), np.zeros(len(y)))
        logits.append(u @ y)
    return np.array(logits), np.stack(weights)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NETS)
def test_values_of_loops(name):
    net, p = NETS[name], drawn(NETS[name])
    logits, weights = jax.jit(net.aligned)(p, X)
    expected = loops(net, p, X)
    np.testing.assert_allclose(logits, expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(weights, expected[1], rtol=1e-12, atol=1e-12)


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETS)
def test_gradients(name):
    net = NETS[name]
    params = jax.tree.map(jnp.float32, drawn(net))
    report = compare_gradients(lambda p, x: net(p, {}, x)[0], params, jax.tree.map(jnp.asarray, X))
    assert report.ok, report


@pytest.mark.usefixtures("x64")
def test_the_gradient_beside_pytorch(torch):
    """Of the words' tables, through two hops and the tied answer."""
    p = drawn(POSITION)
    words, ages = (torch.tensor(np.asarray(p[name]), requires_grad=True) for name in ("words", "ages"))
    n = int(X["n_facts"])
    weights = {m: torch.tensor(np.array([[(1 - j / m) - d / 4 * (1 - 2 * j / m) for d in range(1, 5)]
                                         for j in range(1, m + 1)])) for m in (2, 3)}

    def read(table, ids):
        ids = [int(i) for i in ids if i]
        return (table[ids] * weights[len(ids)]).sum(0)

    u = read(words[0], X["question"])
    for hop in range(2):
        keys, values = (torch.stack([read(words[k], X["facts"][i]) + ages[k][n - 1 - i] for i in range(n)])
                        for k in (hop, hop + 1))
        u = u + torch.softmax(keys @ u, 0) @ values
    torch.nn.functional.cross_entropy((words[2] @ u)[None], torch.tensor([6])).backward()

    def cost(p):
        return -jax.nn.log_softmax(POSITION(p, {}, X)[0])[6]

    found = jax.jit(jax.grad(cost))(p)
    np.testing.assert_allclose(found["words"], words.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found["ages"], ages.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.sampled
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NETS)
def test_padding_and_order(name):
    """What stands behind n_facts changes nothing; a batch is its examples; without a fact the question decides."""
    net, p = NETS[name], drawn(NETS[name])
    f = jax.jit(lambda x: over_examples(net)(p, {}, x)[0])
    changed = X | {"facts": np.concatenate([X["facts"][:3], [[8, 8, 8]]])}
    none = X | {"n_facts": np.array(0)}
    swapped = X | {"facts": X["facts"][[1, 0, 2, 3]]}
    reordered = X | {"question": np.array([1, 3, 0])}
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), X, changed, none, swapped, reordered)
    y = f(batch)
    np.testing.assert_array_equal(y[0], y[1])
    np.testing.assert_allclose(y[0], net(p, {}, X)[0], rtol=1e-12)
    assert np.abs(y[0] - y[3]).max() > 1e-3, "ages tell the facts apart"
    assert (np.abs(y[0] - y[4]).max() > 1e-3) == (name == "position"), "the order of the words counts by position alone"
    u = sentence(p["words"][0] if name != "responses" else p["words"], X["question"],
                 "position" if name == "position" else "bag")
    if name != "responses":
        np.testing.assert_allclose(y[2], p["words"][-1] @ u, rtol=1e-12)
    assert float(jnp.abs(net.aligned(p, none)[1]).max()) == 0


def test_position_weights():
    weights = np.asarray(position_weights(jnp.array([[4, 5, 6], [4, 0, 0]]), 2))
    np.testing.assert_allclose(weights[0], [[1 - 1 / 3 - (1 - 2 / 3) / 2, 1 - 1 / 3 - (1 - 2 / 3)],
                                            [1 - 2 / 3 - (1 - 4 / 3) / 2, 1 - 2 / 3 - (1 - 4 / 3)],
                                            [0.5, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(weights[1], [[0.5, 1], [0, 0], [0, 0]])


def test_equal_networks_are_equal():
    again = response_network(9, np.array(CANDIDATES), 4, 2, most_facts=5, entities=np.array(ENTITIES))
    assert again == RESPONSES and hash(again) == hash(RESPONSES)
    assert again != response_network(9, CANDIDATES, 4, 2, most_facts=5)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: memory_network(0), "words, a positive integer; got 0"),
    (lambda: memory_network(9, hops=0), "hops, a positive integer; got 0"),
    (lambda: memory_network(9, encoding="order"), "encoding, one of position, bag; got 'order'"),
    (lambda: response_network(9, [[1, 2], [3]]), "candidates, lists of words, all of one length"),
    (lambda: response_network(9, []), "candidates, lists of words"),
    (lambda: ResponseNetwork(9, 4, 2, 5), "at least one candidate; got none"),
    (lambda: response_network(9, [[1, 9]]), "candidates of words in 0 .. 8; got words from 1 to 9"),
    (lambda: response_network(9, CANDIDATES, entities=ENTITIES[:2]), "entities of the 3 candidates; got 2"),
    (lambda: POSITION.init(KEY, {"facts": (6, 3), "n_facts": (), "question": (3,)}), "1 to 5 facts; got 6"),
    (lambda: POSITION.init(KEY, {"facts": (2, 6, 3), "question": (3,)}), "facts of shape (T, J)"),
    (lambda: POSITION.init(KEY, {"facts": (4, 3)}), "no question"),
    (lambda: POSITION(drawn(POSITION), {}, X | {"n_facts": np.array(5)}), "lengths in 0 .. 4"),
    (lambda: POSITION(drawn(POSITION), {}, X | {"question": np.array([9, 0, 0])}), "x in 0 .. 8"),
    (lambda: POSITION(drawn(POSITION), {}, X | {"question": np.array([0.5])}), "expects integer question; got float64"),
    (lambda: POSITION(drawn(POSITION), {}, X | {"asked": 1}), "keys ['asked', 'facts', 'n_facts', 'question']"),
])
def test_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
