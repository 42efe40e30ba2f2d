"""`python -m experiments compare --resnet50`, on a network of three blocks."""

import re

import pytest

from experiments.__main__ import main
from experiments.compare.planted import PLANTS
from experiments.compare.resnet50 import cost_and_arguments, resnet
from jaxnn import compare_gradients


def test_mistakes_in_two_layers_are_named_and_explained():
    own = {"stage1/block1": PLANTS["conv"], "stage2/block1": PLANTS["batch-norm"]}
    net = resnet((1, 2), 4, 5, own=own)
    cost, args = cost_and_arguments(net, 2, 16)
    report = compare_gradients(cost, *args, by="rule")
    conv, norm = report.wrong
    assert (conv.name, conv.uses, norm.name, norm.uses) == ("my_conv", 1, "my_batch_norm", 1)
    assert re.fullmatch(r"stage1/block1/body/conv2, planted.py:\d+ in apply", conv.wrong_places[0])
    assert re.fullmatch(r"stage2/block1/body/norm2, planted.py:\d+ in apply", norm.wrong_places[0])
    assert [finding.words for finding in conv.report.findings] == [
        "it is the gradient for params/kernel reversed along axes 0, 1: the kernel is not flipped"]
    assert [finding.words for finding in norm.report.findings] == [
        "it is the reference plus a multiple of x less its mean, one for each place off axes 0, 1, 2: that term is "
        "missing, or too many"]
    assert report.uses == report.compared == 40
    assert str(report).endswith(f"WRONG: my_conv at {conv.wrong_places[0]}; my_batch_norm at {norm.wrong_places[0]}")


@pytest.mark.parametrize(("argv", "message"), [
    (["--size", "0"], "--size expects an integer at least 1; got 0"),
    (["--seed", "x"], "--seed expects an integer at least 0; got 'x'")])
def test_bad_options(capsys, argv, message):
    assert main(["compare", "--resnet50", *argv]) == 2
    assert message in capsys.readouterr().err


def test_the_network_is_resnet_50():
    """He et al. (2016), table 1: 25.6 million parameters, of which batch norm's are part."""
    import jax
    import numpy as np

    params, _ = jax.eval_shape(lambda: resnet().init(jax.random.key(0), (64, 64, 3)))
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)) == 25_557_032
