"""YOLOv2 (Redmon & Farhadi 2017) as a Darknet configuration: Darknet-19, and a passthrough from 26x26 to 13x13 cells.

Its own .cfg, which comes with its weights, is read in the same way. This one has the course's order of the passthrough.
"""

from collections.abc import Sequence

from jaxnn.checks import expect, is_integer
from jaxnn.detection.anchors import expect_anchors

__all__ = ["COURSE_ANCHORS", "yolo_v2_configuration"]

COURSE_ANCHORS = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
"""In cells of the map."""
# (channels, kernel) of each convolution, M for max pooling; the picture is halved five times.
BACKBONE = ((32, 3), "M", (64, 3), "M", (128, 3), (64, 1), (128, 3), "M", (256, 3), (128, 1), (256, 3), "M",
            (512, 3), (256, 1), (512, 3), (256, 1), (512, 3), "M", (1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3),
            (1024, 3), (1024, 3))


def yolo_v2_configuration(classes: int = 80, anchors: Sequence[Sequence[float]] = COURSE_ANCHORS, *, size: int = 608,
                          reorg: str = "reorg3d") -> str:
    """The text of a .cfg; with 80 classes and 5 anchors 50,983,561 numbers, as the course's network.

    Args:
      anchors: width and height in cells.
      size: height and width of the picture, a multiple of 32.
      reorg: "reorg3d" for the order of the course's passthrough, "reorg" for Darknet's own.
    """
    who = "yolo_v2_configuration"
    expect(is_integer(classes, 1), who, "classes, a positive integer", repr(classes))
    expect(is_integer(size, 32) and size % 32 == 0, who, "size, a multiple of 32", repr(size))
    expect(reorg in ("reorg", "reorg3d"), who, "reorg, 'reorg' or 'reorg3d'", repr(reorg))
    pairs = expect_anchors(who, anchors)
    sections = [f"[net]\nheight={size}\nwidth={size}\nchannels=3"]
    sections += ["[maxpool]\nsize=2\nstride=2" if part == "M" else _convolution(*part) for part in BACKBONE]
    # The last map of twice the size, 9 sections back; joined with the one before it, 4 back.
    sections += ["[route]\nlayers=-9", _convolution(64, 1), f"[{reorg}]\nstride=2", "[route]\nlayers=-1,-4",
                 _convolution(1024, 3),
                 f"[convolutional]\nsize=1\nstride=1\npad=1\nfilters={len(pairs) * (5 + classes)}\nactivation=linear",
                 "[region]\nanchors=" + ",".join(f"{w:g},{h:g}" for w, h in pairs)
                 + f"\nclasses={classes}\nnum={len(pairs)}\nsoftmax=1"]
    return "\n\n".join(sections) + "\n"


def _convolution(filters: int | str, size: int | str) -> str:
    return (f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\nstride=1\npad=1\nactivation=leaky")
