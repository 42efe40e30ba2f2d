"""NN4.small2: its parameters, the course's distances with OpenFace's weights, red first, files of another network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.course4.face_networks import face_of, load_crops
from jaxnn.models import BadWeights
from jaxnn.models.nn4_small2 import SIZE, nn4_small2, read_openface
from tests import course

NEEDS_DATA = pytest.mark.skipif(course.data_directory() is None, reason="the course's data are not here: set "
                                "JAXNN_DATA")


def test_as_many_numbers_as_published():
    params, state = jax.eval_shape(lambda: nn4_small2().init(jax.random.key(0), SIZE))
    assert sum(a.size for a in jax.tree.leaves((params, state))) == 3_743_280
    assert sum(a.size for a in jax.tree.leaves(state)) == 9_312


@pytest.mark.exhaustive
@NEEDS_DATA
def test_the_courses_distances_and_those_with_blue_first():
    """.659 and .862, which hang on the decoder by .012; with blue first .597 and .756, which nothing gives away."""
    params, state = read_openface(course.data_directory() / "c4/facenet_nn4small2_weights.npz")
    crops = load_crops(None)
    x = np.stack([crops[name] for name in ("younes", "camera_0", "kian", "camera_2")])
    embed = jax.jit(lambda x: jax.vmap(lambda x: nn4_small2()(params, state, x)[0])(x))
    e = embed(jnp.concatenate([x, x[..., ::-1]]))
    np.testing.assert_allclose(np.linalg.norm(e, axis=-1), 1, rtol=1e-5)
    found = np.linalg.norm(e[0::2] - e[1::2], axis=-1)
    np.testing.assert_allclose(found[:2], [0.65939283, 0.86224014], atol=0.012)
    np.testing.assert_allclose(found[2:], [0.597, 0.756], atol=0.012)


def test_a_file_of_another_network_is_refused(tmp_path):
    file = tmp_path / "other.npz"
    np.savez(file, conv1_w=np.zeros((7, 7, 3, 32), np.float32), fire2_w=np.zeros(3, np.float32))
    with pytest.raises(BadWeights, match=r"expects the 224 arrays of NN4.small2; got .*conv1_w of float32\[7, 7, 3"):
        read_openface(file)
    with pytest.raises(BadWeights, match="is none"):
        read_openface(tmp_path / "missing.npz")
    with pytest.raises(ValueError, match="expects pooling 'average' or 'l2'; got 'max'"):
        nn4_small2(pooling="max")


def test_crops_of_other_kinds(tmp_path):
    """Of another size: refused. Grey, transparent, and lying on its side with EXIF: read as they look."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 4), dtype=np.uint8)
    image.fromarray(pixels[:80]).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"a crop of a face of 96 by 96 pixels; got small.png of 80 by 96; cut the"):
        face_of(tmp_path / "small.png")
    image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_allclose(face_of(tmp_path / "grey.png"), pixels[..., :1] / np.ones(3) / 255, rtol=1e-6)
    image.fromarray(pixels * np.array([1, 1, 1, 0], np.uint8)).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(face_of(tmp_path / "clear.png"), 1)
    turned = image.fromarray(pixels[..., :3])
    exif = turned.getexif()
    exif[0x0112] = 3
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_allclose(face_of(tmp_path / "turned.png"), pixels[::-1, ::-1, :3] / 255, rtol=1e-6)
