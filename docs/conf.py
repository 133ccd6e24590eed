"""The configuration of Sphinx, which builds the site: `make docs`."""

from mountsea_banana import __version__

project = author = "mountsea-banana"
release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"mountsea-banana {release}"
html_show_copyright = False
html_copy_source = False
