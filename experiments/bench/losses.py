"""Losses: the softmax cross-entropy of a dense layer over many classes, and connectionist temporal classification."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.bench.measure import Side, classes, normal, of_gradient
from experiments.bench.torch_device import as_result, on_device, pytorch
from jaxnn.ops import ctc, dense_softmax_cross_entropy

__all__ = ["alignment", "many_classes"]


def many_classes(rows: int = 1024, n_in: int = 512, n_classes: int = 32_000) -> list[Side]:
    """Gradients by weight, bias and x of the summed loss: with all logits at once, and in chunks of classes."""
    params = {"weight": normal(0, n_classes, n_in) / n_in**0.5, "bias": jnp.zeros(n_classes)}
    x, labels = normal(1, rows, n_in), classes(2, rows, n_classes)

    def plain(params: Any, x: Any) -> Any:
        logits = x @ params["weight"].T + params["bias"]
        return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def in_chunks(params: Any, x: Any) -> Any:
        return dense_softmax_cross_entropy(params, x, labels)

    return [of_gradient("autodiff", plain, params, x, argnums=(0, 1)),
            of_gradient("jaxnn", in_chunks, params, x, argnums=(0, 1))]


def alignment(batch: int = 32, time: int = 200, n_classes: int = 30, n_labels: int = 30) -> list[Side]:
    """The loss's gradient by the logits of a batch, class 0 being the blank: optax, PyTorch and jaxnn."""
    logits = normal(0, batch, time, n_classes)
    labels = 1 + classes(1, batch * n_labels, n_classes - 1).reshape(batch, n_labels)

    def optax_cost(logits: Any) -> Any:
        return jnp.sum(optax.ctc_loss(logits, jnp.zeros((batch, time)), labels, jnp.zeros((batch, n_labels))))

    def cost(logits: Any) -> Any:
        return jnp.sum(jax.vmap(ctc)(logits, labels))

    peer = _torch_alignment(logits, labels)
    return [of_gradient("optax", optax_cost, logits), *([Side("PyTorch", peer)] if peer else []),
            of_gradient("jaxnn", cost, logits)]


def _torch_alignment(logits: Any, labels: Any) -> Callable | None:
    torch = pytorch()
    if torch is None:
        return None
    z, targets = on_device(logits).requires_grad_(), on_device(labels).long()
    batch, time, _ = z.shape
    lengths = torch.full((batch,), time), torch.full((batch,), targets.shape[1])

    def call() -> Any:
        log_p = z.log_softmax(-1).transpose(0, 1)
        loss = torch.nn.functional.ctc_loss(log_p, targets, *lengths, reduction="sum")
        return as_result(torch.autograd.grad(loss, z))

    return call
