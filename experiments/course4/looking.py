"""What a convolutional network looks at: its kernels, its activations, and where a picture decides the class."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import figures
from jaxnn.training import evaluate

__all__ = ["activations", "attention", "filters", "occlusion", "saliency"]


def filters(path: Path, title: str, kernel: Any) -> None:
    """The kernels of a first convolution, (height, width, n_in, n_out); of colours their mean."""
    kernels = np.moveaxis(np.asarray(kernel).mean(2), -1, 0)
    limit = np.abs(kernels).max()
    columns = min(8, len(kernels))
    figure, axes = figures.panels(-(-len(kernels) // columns), columns, (1.3, 1.45), title)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, values in zip(axes.flat, kernels):
        picture = axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(picture, ax=axes.ravel().tolist(), label="weight", shrink=0.8)
    figures.save(figure, path)


def activations(path: Path, title: str, model: Any, params: Any, state: Any, image: Any, most: int = 8) -> None:
    """One picture and the first channels of what each layer makes of it, up to the first that is no picture."""
    rows, x = [("x", np.asarray(image))], jnp.asarray(image)
    for name, part in model.parts.items():
        x, _ = part(params.get(name, {}), state.get(name, {}), x, None, train=False)
        if x.ndim != 3:
            break
        rows.append((name, np.asarray(x)))
    figure, axes = figures.panels(len(rows), most, (1.1, 1.15), title)
    for line, (name, values) in zip(axes, rows):
        for axis in line:
            axis.set_axis_off()
        for channel, axis in zip(range(min(most, values.shape[-1])), line):
            axis.imshow(values[..., channel], cmap="viridis")
        line[0].set_title(f"{name} {values.shape[0]}x{values.shape[1]}x{values.shape[2]}", fontsize=8, loc="left")
    figures.save(figure, path)


def saliency(model: Any, params: Any, state: Any, images: Any, labels: Any) -> np.ndarray:
    """(n, height, width): |∂z/∂x| of the logit z of the class, the largest of a pixel's channels.

    Source: Simonyan, Vedaldi & Zisserman (2014).
    """
    @jax.jit
    @jax.vmap
    def slopes(image: Any, label: Any) -> Any:
        return jax.grad(lambda image: model(params, state, image)[0][label])(image)

    return np.abs(np.asarray(slopes(jnp.asarray(images), jnp.asarray(labels)))).max(-1)


def occlusion(model: Any, params: Any, state: Any, image: Any, label: int, window: int) -> np.ndarray:
    """(height, width): the probability of the class when a square of `window` pixels around each pixel is grey.

    Source: Zeiler & Fergus (2014), section 4.2.
    """
    height, width = image.shape[:2]
    rows, columns = np.arange(height), np.arange(width)
    half = window // 2
    near = [np.abs(axis[:, None] - axis) <= half for axis in (rows, columns)]
    hidden = near[0][:, None, :, None] & near[1][None, :, None, :]
    grey = float(np.mean(image))
    pictures = np.where(hidden[..., None], np.float32(grey), np.asarray(image)).reshape(-1, *image.shape)
    z = evaluate(model, params, state, pictures)
    return np.asarray(jax.nn.softmax(z)[:, label]).reshape(height, width)


def attention(path: Path, title: str, model: Any, params: Any, state: Any, images: Any, labels: Any,
              classes: Any) -> None:
    """For a picture of each class: the picture, its saliency, and the probability of its class under occlusion."""
    n, window = len(images), max(images.shape[1] // 5, 2)
    legend = (f"above: the picture; middle: |∂ logit / ∂ pixel|\nbelow: the class's probability with a grey square of "
              f"{window} pixels there")
    figure, axes = figures.panels(3, n, (1.25, 1.35), f"{title}\n{legend}")
    slopes = saliency(model, params, state, images, labels)
    for i in range(n):
        label = int(labels[i])
        axes[0, i].imshow(images[i, ..., 0] if images.shape[-1] == 1 else images[i], cmap="gray_r")
        axes[0, i].set_title(str(classes[label]), fontsize=9)
        axes[1, i].imshow(slopes[i], cmap="magma")
        picture = axes[2, i].imshow(occlusion(model, params, state, images[i], label, window), cmap="viridis", vmin=0,
                                    vmax=1)
        for axis in axes[:, i]:
            axis.set_axis_off()
    figure.colorbar(picture, ax=axes[2].tolist(), label="probability", shrink=0.9)
    figures.save(figure, path)
