"""IDX files, and MNIST and Fashion-MNIST, which are published in them."""

import gzip
import itertools
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import data_directory, find
from jaxnn.data.download import download, expect_digest
from jaxnn.file_errors import BadFile, MissingData

__all__ = ["ImageClasses", "load_fashion_mnist", "load_mnist", "read_idx"]

# The third byte of an IDX file says what its numbers are.
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_AXES = 32  # NumPy's limit before its version 2
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
EXAMPLES = 60_000, 10_000  # to train and to test
FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
         "t10k-labels-idx1-ubyte.gz")
# As published with the data.
MD5 = {
    "mnist": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
              "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
    "fashion-mnist": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                      "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310")}


class ImageClasses(NamedTuple):
    """Pictures of one class each.

    train_x, test_x: (n, height, width, channels) uint8.
    train_y, test_y: (n,) int64, the class, from 0 on.
    classes: their names.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: tuple[str, ...]


def read_idx(path: str | Path, *, max_bytes: int = 2**28) -> np.ndarray:
    """The array of an IDX file, packed by gzip or not, in the machine's byte order.

    Args:
      path: the file.
      max_bytes: the most that the array may take; a file that declares or unpacks to more is refused before.
    Raises:
      FileNotFoundError: there is no such file.
      BadFile: it is no whole IDX file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} expects an IDX file; got no such file; check the path")
    if not path.is_file():
        raise BadFile(f"{path} expects an IDX file; got something else; name the file itself")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            with gzip.open(raw) if packed else raw as file:
                head = file.read(4)
                if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in DTYPES or head[3] == 0:
                    raise BadFile(f"{path} expects an IDX file; got the first bytes {head.hex(' ')}; get it again")
                dtype, sizes = np.dtype(DTYPES[head[2]]), file.read(4 * head[3])
                if len(sizes) < 4 * head[3]:
                    raise BadFile(f"{path} expects {head[3]} sizes; got a file that ends before; get it again")
                shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
                if head[3] > MOST_AXES:
                    raise BadFile(f"{path} expects at most {MOST_AXES} axes; got {head[3]}; get it again")
                n_bytes = math.prod(shape) * dtype.itemsize
                # Beside a size of 0 others may be so large that NumPy has no such shape.
                if math.prod(max(n, 1) for n in shape) * dtype.itemsize > max_bytes:
                    raise BadFile(f"{path} expects at most {max_bytes:,} bytes; got the declared shape {shape}, "
                                  f"{n_bytes:,} bytes; pass max_bytes if it is right")
                data = file.read(n_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise BadFile(f"{path} expects a whole IDX file; got {error}; get it again") from error
    if len(data) != n_bytes:
        raise BadFile(f"{path} expects {n_bytes:,} bytes for the shape {shape}; got "
                      f"{'more' if len(data) > n_bytes else f'{len(data):,}'}; get it again")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def load_mnist(directory: str | Path | None = None, *, fetch: bool = False, published: bool = True) -> ImageClasses:
    """MNIST: 60,000 and 10,000 digits of 28x28 pixels.

    Args:
      directory: the data directory, as in `data_directory`; the four files lie in it or in its folder "mnist".
      fetch: whether files that are not there are downloaded into that folder (11 MB).
      published: whether they must be the published files, by their MD5; False takes others of the same shapes.
    Raises:
      MissingData: a file is not there.
      BadFile: a file is damaged or another one.
    Source: LeCun, Cortes & Burges (1998).
    """
    return _load("mnist", MNIST, tuple(map(str, range(10))), directory, fetch, published)


def load_fashion_mnist(directory: str | Path | None = None, *, fetch: bool = False,
                       published: bool = True) -> ImageClasses:
    """Fashion-MNIST: 60,000 and 10,000 pieces of clothing of 28x28 pixels; as `load_mnist`, folder "fashion-mnist"
    (31 MB).

    Source: Xiao, Rasul & Vollgraf (2017).
    """
    names = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
    return _load("fashion-mnist", FASHION, names, directory, fetch, published)


def _load(name: str, address: str, classes: tuple[str, ...], directory: str | Path | None, fetch: bool,
          published: bool) -> ImageClasses:
    arrays: list[np.ndarray] = []
    for file, md5, (n, is_image) in zip(FILES, MD5[name], itertools.product(EXAMPLES, (True, False)), strict=True):
        try:
            path = find(f"{name}/{file}", directory, how_to_get=f"download {address}{file}, or pass fetch=True",
                        instead="jaxnn.data.load_digits()")
        except MissingData:
            if not fetch:
                raise
            path = download(address + file, data_directory(directory) / name / file, digest=f"md5:{md5}")
        if published:
            expect_digest(path, f"md5:{md5}")
        array = read_idx(path)
        shape = (n, 28, 28) if is_image else (n,)
        if array.shape != shape or array.dtype != np.uint8:
            raise BadFile(f"{path} expects bytes of shape {shape}; got {array.dtype} of shape {array.shape}")
        if not is_image and array.max() > 9:
            raise BadFile(f"{path} expects labels 0 to 9; got {array.max()}")
        arrays.append(array[..., None] if is_image else array.astype(np.int64))
    train_x, train_y, test_x, test_y = arrays
    return ImageClasses(train_x, train_y, test_x, test_y, classes)
