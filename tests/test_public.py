"""What is public: the list of `jaxnn`, and what `help` shows of it and of an op."""

import inspect
import pydoc
import re
import subprocess
import sys

import jaxnn
from jaxnn.hand_derived import Op


def test_the_public_list():
    """Every name outside of modules is in the list and in the docstring, and nothing else is."""
    modules = {name for name, value in vars(jaxnn).items() if type(value) is type(jaxnn)}
    names = {name for name in vars(jaxnn) if not name.startswith("_")} - modules | {"initializers"}
    assert names == set(jaxnn.__all__)
    assert len(jaxnn.__all__) == len(set(jaxnn.__all__))
    words = set(re.findall(r"\w+", jaxnn.__doc__))
    assert set(jaxnn.__all__) <= words


def test_every_op_of_the_library_is_public():
    ops = {name for name, value in vars(jaxnn.ops).items() if isinstance(value, Op)}
    assert ops <= set(jaxnn.__all__)


def test_help_of_an_op_shows_its_keywords_and_ends_with_its_derivation():
    text = pydoc.plain(pydoc.render_doc(jaxnn.max_pool))
    assert "max_pool(x: Any, *, window:" in text
    assert text.index("y_p = max over the window at p") < text.index("Each window's maximum is one of its elements")
    for name in jaxnn.__all__:
        op = getattr(jaxnn, name)
        if isinstance(op, Op):
            assert ">>> " in op.__doc__, f"{name} has no example"
            derivation = inspect.getdoc(op._backward)
            assert derivation and op.__doc__.endswith(derivation), f"{name} has no derivation"


def test_help_of_the_package_shows_the_list():
    text = pydoc.plain(pydoc.render_doc(jaxnn))
    assert all(name in text for name in jaxnn.__all__)


def test_importing_brings_no_pictures():
    """matplotlib is imported where a picture is drawn, so that `import jaxnn` is quick."""
    optional = ("matplotlib", "h5py", "sklearn", "torch", "flax")
    code = f"import sys, jaxnn; print([m for m in {optional} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
