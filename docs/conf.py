"""The documentation site; `make docs` builds it, and every warning is an error."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

project = "pyrovae"
author = "the pyrovae developers"
version = release = version_of("pyrovae")
extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "explorer_page",
    "generated_pages",
    "mathml",
]
html_theme = "furo"
html_title = f"pyrovae {version}"
html_static_path = ["_static"]
html_extra_path = ["_build/explorer/site"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_theme_options = {"navigation_with_keys": True}
html_last_updated_fmt = None
html_show_copyright = False
exclude_patterns = ["_build", "_ext"]

# The notebooks are kept with their outputs, and the tests run each of them from top to bottom: a site that ran them
# again would take twenty minutes and show the same. `make docs EXECUTE=1` does so.
nb_execution_mode = "off"
nb_execution_timeout = 1200
nb_execution_raise_on_error = True
nb_merge_streams = True

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"
