"""Configuration of Sphinx for the site of the documents; ``docs/site/build.py`` calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes
from docutils.parsers.rst import Directive

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = html_title = "ML pipeline on Databricks"
extensions = ["myst_parser"]
root_doc = "index"
html_theme = "furo"
html_copy_source = html_show_sourcelink = html_show_copyright = html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["mermaid.tiny.js", "diagrams.js"]
# Anchors of headings as GitHub makes them, so that one link works in both places.
myst_heading_anchors = 4
myst_fence_as_directive = {"mermaid"}
nitpicky = True


class Mermaid(Directive):
    """A diagram in Mermaid's language, which the browser draws."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Keep the source, escaped, as the element that Mermaid replaces."""
        source = nodes.Text("\n".join(self.content)).astext()
        escaped = source.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return [nodes.raw("", f'<pre class="mermaid">\n{escaped}\n</pre>', format="html")]


def setup(app: Sphinx) -> None:
    """Add what no extension has: Mermaid from a local file, so that diagrams need no network."""
    app.add_directive("mermaid", Mermaid)
