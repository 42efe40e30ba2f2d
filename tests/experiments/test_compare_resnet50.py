"""`python -m experiments compare --resnet50`, on a network of three blocks."""

import re

import pytest

from experiments.__main__ import main
from experiments.compare.planted import cost_and_arguments, with_plant
from jaxnn import compare_gradients
from jaxnn.layers import BatchNorm, Conv, Dense, Sequential
from jaxnn.models.resnet import bottleneck
from jaxnn.ops import global_average_pool, relu


@pytest.mark.exhaustive
def test_mistakes_in_two_layers_are_named_and_explained():
    blocks = Sequential(**{"0": bottleneck(4, 1, True), "1": bottleneck(4, 1, False), "2": bottleneck(8, 2, True)})
    net = Sequential(conv1=Conv(4, (7, 7), stride=2, use_bias=False), bn1=BatchNorm(), relu=relu, layer1=blocks,
                     avgpool=global_average_pool, fc=Dense(5))
    net = with_plant(with_plant(net, "layer1/0", "conv"), "layer1/1", "batch-norm")
    cost, args = cost_and_arguments(net, 2, 16)
    report = compare_gradients(cost, *args, by="rule")
    conv, norm = report.wrong
    assert (conv.name, conv.uses, norm.name, norm.uses) == ("my_conv", 1, "my_batch_norm", 1)
    assert re.fullmatch(r"layer1/0/residual/body/conv2, planted.py:\d+ in apply", conv.wrong_places[0])
    assert re.fullmatch(r"layer1/1/residual/body/bn2, planted.py:\d+ in apply", norm.wrong_places[0])
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
