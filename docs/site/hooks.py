"""What the site does that mkdocs does not: pages read as well on the site as in the repository.

Pages link to files beside `docs/` (specs, tests), which become pages of the site. Pictures come
inline, so that they follow the site's colours. `.mimo` blocks are coloured, and the word that tells
tests what a block is (```` ```mimo fragment ````) is left out.
"""

import posixpath
import re
from html import escape
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text

ROOT: Final = Path(__file__).parents[2]
_PAGES: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository that are pages in the navigation."""

_EXAMPLES: Final = "docs/examples"
"""Files in `docs/` that are shown as they are."""

_LINK: Final = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=[\s)])")
_FENCE: Final = re.compile(r"^(?P<fence>```[a-z]+) [a-z ]+$", re.MULTILINE)
_MARK: Final = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_PICTURE: Final = re.compile(r'<p><img alt="(?P<alt>[^"]*)" src="(?P<src>[^"]+\.svg)" ?/?></p>')
_LANGUAGES: Final = {".py": "python", ".mimo": "mimo", ".json": "json", ".toml": "toml"}


class MimoLexer(RegexLexer):
    """Colours for `.mimo`; the grammar itself is `grammars/mimo.lark`."""

    name = "mimo"
    tokens = {  # noqa: RUF012 - as Pygments has it
        "root": [
            (r"#.*$", Comment.Single),
            (r'"(?:\\.|[^"\\\n])*"', String),
            (
                r"^(use|let|grid|place|preset|module|flow|schedule|train)\b([ \t]*)(\w*)",
                bygroups(Keyword, Text, Name.Class),
            ),
            (words(("true", "false", "none"), suffix=r"\b"), Keyword.Constant),
            (r"\b\d+x\d+\b", Number),
            (r"\b\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?\b", Number),
            (r"(\w+)([ \t]*)(=)", bygroups(Name.Attribute, Text, Operator)),
            (r"(\w+)(:)(?=[\w(])", bygroups(Name.Tag, Punctuation)),
            (r"->|//|[*+\-%|&=:]", Operator),
            (r"[{}()\[\],]", Punctuation),
            (r"\w+", Name),
            (r"\s+", Text),
            (r".", Text),
        ]
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Colour `mimo` blocks."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "mimo", "class": "highlight", "format": _mimo}]
    return config


def _mimo(source: str, *_: Any, **__: Any) -> str:
    formatter = HtmlFormatter(cssclass="language-mimo highlight", wrapcode=True)
    return highlight(source, MimoLexer(), formatter)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the repository that pages lead to."""
    for source, uri in _PAGES.items():
        if uri != "index.md":
            files.append(File.generated(config, uri, content=_page(source)))
    texts = {file.src_uri: file.content_string for file in files if file.is_documentation_page()}
    wanted = {
        target
        for uri, text in texts.items()
        for link in _LINK.finditer(text)
        if (target := _outside(uri, link["path"])) is not None and target not in _PAGES
    }
    for target in sorted(wanted):
        files.append(File.generated(config, _uri(target), content=_source(target)))
    return files


def _page(source: str) -> str:
    """A page of the repository's top level, as if it lay in `docs/`."""
    text = (ROOT / source).read_text()

    def moved(link: re.Match[str]) -> str:
        path = link["path"]
        inside = path.removeprefix("docs/")
        return (inside if inside != path else f"../{path}") + (link["anchor"] or "")

    return _LINK.sub(moved, text)


def _outside(uri: str, path: str) -> str | None:
    """The file of the repository that a link of a page means, where that is no page of `docs/`."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(uri), path))
    inside = target.startswith("docs/") and not target.startswith(_EXAMPLES)
    return None if inside or target.startswith("..") else target


def _uri(target: str) -> str:
    return _PAGES.get(target) or f"repository/{target}.md"


def _source(target: str) -> str:
    path = ROOT / target
    if path.is_dir():
        inside = sorted(
            entry.name for entry in path.iterdir() if not entry.name.startswith((".", "_"))
        )
        return f"# {target}/\n\n" + "\n".join(f"- `{name}`" for name in inside) + "\n"
    language = _LANGUAGES.get(path.suffix, "text")
    return f"# {path.name}\n\n`{target}`\n\n`````{language}\n{path.read_text()}`````\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to the pages that the repository's files have become; drop what tests read."""
    del config, files
    uri = page.file.src_uri
    if uri == "index.md":
        page.meta["hide"] = ["navigation"]  # it would hold the page alone
    if uri.startswith("repository/"):
        page.meta["search"] = {"exclude": True}
        return markdown

    def led(link: re.Match[str]) -> str:
        target = _outside(uri, link["path"])
        return link[0] if target is None else _uri(target) + (link["anchor"] or "")

    return _FENCE.sub(r"\g<fence>", _MARK.sub("", _LINK.sub(led, markdown)))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put pictures into the page."""
    del page, files

    def inline(picture: re.Match[str]) -> str:
        svg = (Path(config.docs_dir) / posixpath.normpath(picture["src"])).read_text()
        label = escape(picture["alt"], quote=True)
        return f'<figure class="picture" aria-label="{label}">{svg}</figure>'

    return _PICTURE.sub(inline, html)
