"""The configuration of Sphinx, which builds the site: `make docs`."""

from mountsea_banana import __version__

project = author = "mountsea-banana"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"mountsea-banana {release}"
html_show_copyright = False
html_copy_source = False

default_role = "code"  # docstrings put code in single backticks
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_type_aliases = {
    name: name for name in ("AspectRatio", "Model", "Resolution", "StandardRatio")
}
