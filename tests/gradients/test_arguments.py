"""Arguments from a description: what the language means, and what is said of a text without sense."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.gradients.arguments import DTYPES, parse

NARROW = [name for name in DTYPES if name not in ("f64", "c128", "i64", "u64", "bool")]
FLOATS = ["f16", "bf16", "f32", "f64"]


def described(name, sizes="[3]"):
    is_integer = name[0] in "iu"
    return f"{name}{sizes}<10" if is_integer else name + sizes


def test_one_argument_after_another():
    a, b, c = parse("f32[64,128] f32[128],bf16[]")
    assert (a.shape, a.dtype) == ((64, 128), jnp.float32)
    assert (b.shape, b.dtype) == ((128,), jnp.float32)
    assert (c.shape, c.dtype) == ((), jnp.bfloat16)
    assert parse("") == ()


@pytest.mark.parametrize("name", NARROW)
def test_every_narrow_dtype(name):
    (x,) = parse(described(name))
    assert x.dtype == DTYPES[name]
    assert x.shape == (3,)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_with_64_bits(name):
    (x,) = parse(described(name))
    assert x.dtype == DTYPES[name]


@pytest.mark.parametrize("name", ["f64", "c128", "i64", "u64"])
def test_64_bits_are_refused_where_jax_has_none(name):
    text = f"f32[2] {described(name)}"
    with pytest.raises(InputError) as error:
        parse(text)
    assert str(error.value) == (
        f"arguments at character 8 of {text!r} expect no 64-bit dtype, since JAX runs without; got {name!r}; "
        "set JAX_ENABLE_X64=1, or call it under jax.enable_x64(True)")


def test_floats_are_standard_normal():
    (x,) = parse("f32[100,100]")
    assert abs(float(x.mean())) < 0.05
    assert abs(float(x.std()) - 1) < 0.05
    (z,) = parse("c64[100,100]")
    assert abs(float(jnp.mean(jnp.abs(z) ** 2)) - 1) < 0.05
    assert abs(float(jnp.mean(z.real**2)) - 0.5) < 0.05
    assert float(parse("f32[3]*0.5")[0][0]) == 0.5 * float(parse("f32[3]")[0][0])
    assert complex(parse("c64[3]*1e-3")[0][0]) == pytest.approx(1e-3 * complex(parse("c64[3]")[0][0]))


@pytest.mark.parametrize("name", ["f16", "bf16", "f32"])
def test_positive_numbers_and_distributions(name):
    (x,) = parse(f"{name}[10000]>0")
    assert 0 < float(x.min()) < 0.01
    assert 0.99 < float(x.max()) < 1
    (p,) = parse(f"{name}[5,4]/sum")
    np.testing.assert_allclose(p.astype(jnp.float32).sum(-1), 1, atol=4 * float(jnp.finfo(p.dtype).eps))
    assert float(p.min()) > 0
    assert float(parse("f32[]/sum")[0]) == 1


def test_integers_and_booleans():
    (x,) = parse("i32[1000]<10")
    assert set(x.tolist()) == set(range(10))
    assert set(parse("u8[10000]<256")[0].tolist()) == set(range(256))
    assert parse("i8[3]<1")[0].tolist() == [0, 0, 0]
    assert set(parse("bool[100]")[0].tolist()) == {True, False}


def test_keys_none_and_trees():
    key, nothing, tree, empty = parse("key none {weight: f32[4,3], rest: (f32[3], (i32[]<2,), {})} ()")
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    assert nothing is None
    assert jax.tree.map(jnp.shape, tree) == {"weight": (4, 3), "rest": ((3,), ((),), {})}
    assert empty == ()


def test_sizes_by_name():
    x, y, labels = parse("f32[m,2*n] f32[m*n] i32[m]<n", sizes={"m": 2, "n": 3})
    assert (x.shape, y.shape, labels.shape) == ((2, 6), (6,), (2,))
    assert labels.max() < 3
    assert parse("f32[0]")[0].shape == (0,)


def test_the_same_seed_gives_the_same_numbers():
    text = "f32[3] key {a: f32[2]>0}"
    data = lambda tree: jax.tree.map(lambda x: np.asarray(  # noqa: E731
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x).tolist(), tree)
    assert data(parse(text, 3)) == data(parse(text, 3))
    assert data(parse(text, 3)) != data(parse(text, 4))
    assert data(parse(text, jax.random.key(1))) == data(parse(text, jax.random.PRNGKey(1)))
    assert data(parse(text, jax.random.key(1))) != data(parse(text, jax.random.key(2)))
    assert data(parse(text + " f32[7]", 3))[:3] == data(parse(text, 3))  # what is added changes none before
    a, b = parse("f32[3] f32[3]")
    assert a.tolist() != b.tolist()


@pytest.mark.usefixtures("x64")
def test_a_dtype_rounds_the_same_numbers():
    (wide,) = parse("f64[5]")
    for name in FLOATS:
        (x,) = parse(f"{name}[5]")
        assert x.tolist() == wide.astype(x.dtype).tolist()


@pytest.mark.parametrize(("text", "at", "message"), [
    ("f32[64,128 f32[128]", 12, "expect ',' or ']' after a size; got 'f32'; for example f32[64,128]"),
    ("f32[2] f33[3]", 8, f"expect a dtype ({', '.join(DTYPES)}), key or none; got 'f33'; for example"),
    ("f32", 4, "expect '[' and the sizes ([] for a scalar); got the end; for example f32[64,128]"),
    ("f32[-1]", 5, "expect a size or ']'; got '-'; for example f32[64,128]"),
    ("f32[1.5]", 5, "expect a size or ']'; got '1.5'; for example f32[64,128]"),
    ("f32[m]", 5, "expect a whole number; got 'm'; for example f32[64,128]"),
    ("f32[3]<4", 7, "expect '*' and a factor, >0 or /sum after f32[...]; got '<'; for example f32[8]*0.5"),
    ("f32[3]>1", 8, "expect 0 after '>'; got '1'; for example f32[8]>0, uniform in (0, 1)"),
    ("f32[3]*x", 8, "expect a factor after '*'; got 'x'; for example f32[8]*0.5"),
    ("c64[3]>0", 7, "expect '*' and a factor after c64[...]; got '>'; for example c64[8]*0.5"),
    ("i32[3]", 7, "expect '<' and a bound after i32[...]; got the end; for example i32[8]<10 for integers in "
     "0 .. 9"),
    ("u8[3]<300", 7, "expect a bound in 1 .. 256, what u8 can hold; got '300'; for example u8[8]<10 for"),
    ("i32[3]<0", 8, "expect a bound in 1 .. 2147483648, what i32 can hold; got '0'"),
    ("{weight f32[3]}", 9, "expect ':' after the name of an entry; got 'f32'"),
    ("{3: f32[3]}", 2, "expect the name of an entry, or '}'; got '3'"),
    ("{a: f32[1], a: f32[2]}", 13, "expect a name that was not there before; got 'a'"),
    ("(f32[1] f32[2])", 9, "expect ',' or ')' after a part; got 'f32'; for example (f32[3], f32[3])"),
    ("(f32[1]", 8, "expect ',' or ')' after a part; got the end"),
    ("]", 1, "expect an argument; got ']'; for example f32[64,128] i32[8]<10 {weight: f32[4,3], bias: "),
])
def test_the_message_on_a_text_without_sense(text, at, message):
    with pytest.raises(InputError, match=re.escape(f"arguments at character {at} of {text!r} {message}")):
        parse(text)


def test_an_unknown_size_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=re.escape("expect one of the sizes m, n; got 'k'; for example")):
        parse("f32[k]", sizes={"m": 1, "n": 2})


@pytest.mark.parametrize(("call", "message"), [
    (lambda: parse(3), "arguments expects a description, a string; got int; for example"),
    (lambda: parse("f32[]", -1), "arguments expects a seed, an integer >= 0 or a PRNG key; got -1"),
    (lambda: parse("f32[]", 0.5), "arguments expects a seed, an integer >= 0 or a PRNG key; got 0.5"),
])
def test_what_is_no_description_and_no_seed(call, message):
    with pytest.raises(InputError, match=re.escape(message)):
        call()
