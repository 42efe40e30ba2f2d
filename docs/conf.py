"""Sphinx reads this: python -m sphinx -W docs docs/_build. Pages of ops and experiments are made from the code."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import jaxnn  # noqa: E402
from docs.pages import write_pages  # noqa: E402

project = "jaxnn"
author = "the authors of jaxnn"
version = release = jaxnn.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_build", "*.py", "notebooks/*.ipynb"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "jaxnn"
html_static_path = ["_static"]
html_css_files = ["formulas.css"]
html_copy_source = False

write_pages(HERE / "generated")
