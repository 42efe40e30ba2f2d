"""Augmentation: random changes of a picture that keep its label, as pure functions of a key.

Changes of place (`flip`, `crop`, `resized_crop`, `rotation`, `shear`, `shift`) are drawn as a `Warp`, which moves the
picture, a mask and boxes alike. Changes of colour are functions (key, image) -> image. `mixup` and `cutmix` mix a batch
with itself.
"""

from jaxnn.augmentation.colour import (
    brightness,
    contrast,
    cutmix,
    cutout,
    hue,
    mixup,
    pca_colour,
    saturation,
    to_grey,
)
from jaxnn.augmentation.warps import Warp, crop, flip, resized_crop, rotation, shear, shift
