"""Builds the documents into a site: ``.venv-docs/bin/python docs/site/build.py FOLDER``; ``make docs`` calls it.

A link between two Markdown files works on GitHub and on the site: the files that lie elsewhere in the repository are
copied beside the others, and links to them change with them. Every warning is an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
MERMAID = ROOT / "node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js"
ELSEWHERE = {ROOT / ".github/CONTRIBUTING.md": "contributing.md", ROOT / "CHANGELOG.md": "changelog.md"}
"""Documents outside of ``docs/``, and their names on the site."""


def pages() -> dict[Path, str]:
    """Every document of the site, with its name there."""
    return {file: file.name for file in sorted((ROOT / "docs").glob("*.md"))} | ELSEWHERE


def relinked(file: Path, text: str) -> str:
    """The text of a document with its links to other documents as they are on the site."""
    names = pages()

    def link(found: re.Match[str]) -> str:
        place, mark, anchor = found[1].partition("#")
        name = names.get(Path(os.path.normpath(file.parent / place)))
        return f"]({name}{mark}{anchor})" if place and name else found[0]

    return re.sub(r"\]\(([^)\s]+)\)", link, text)


def contents(index: str) -> str:
    """Hidden tables of contents: the sections of the index page, with the documents that each links to."""
    trees = []
    for title, section in re.findall(r"^## (.*)\n((?:(?!^## ).*\n?)*)", index, flags=re.MULTILINE):
        names = re.findall(r"\]\(([\w-]+)\.md\)", section)
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *dict.fromkeys(names), "```"]))
    return "\n\n".join(trees)


def stage(folder: Path) -> None:
    """Write what Sphinx reads."""
    for file, name in pages().items():
        text = relinked(file, file.read_text(encoding="utf-8"))
        if name == "index.md":
            text += f"\n{contents(text)}\n"
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", folder / "images")


def build(output: Path) -> int:
    """Build the site; the exit code is Sphinx's."""
    from sphinx.cmd.build import main

    with tempfile.TemporaryDirectory() as temporary:
        source, configuration = Path(temporary, "docs"), Path(temporary, "site")
        source.mkdir()
        stage(source)
        shutil.copytree(Path(__file__).parent, configuration)
        shutil.copy(MERMAID, configuration / "static")
        shutil.rmtree(output, ignore_errors=True)
        strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--doctree-dir", f"{temporary}/trees"]
        code = main([*strict, "--conf-dir", str(configuration), str(source), str(output)])
    if not code:
        shutil.copytree(ROOT / "docs" / "schemas", output / "schemas")
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, metavar="FOLDER", help="where the site goes; replaced if it exists")
    built = build(parser.parse_args().output)
    print(f"wrote {parser.parse_args().output}/index.html" if not built else "the site was not built", file=sys.stderr)
    sys.exit(built)
