"""Pages that people read, each one file that loads nothing: made from a template beside its writer, and verified.

Here: HTML, in which every value is escaped unless a template made it. Not here: what a page says (its writer and its
template), nor Markdown and XML (`fermentation/writers/batch_report` escapes what breaks a cell or starts a heading;
`occurrences/writers/dwca_eml` builds a tree, whose texts cannot become tags).
"""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sheaf.errors import VerificationError

_WITHIN = ("data:image/png;base64,", "data:audio/mpeg;base64,", "#")
"""How addresses begin that a page holds itself."""


def render(template: Path, **values: Any) -> str:
    """A page.

    Args:
        template: Jinja2, `<name>.html.j2`; a name that it does not get is an error.
        values: what it is filled with; text is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return made.get_template(template.name).render(**values)


def sections(page: Path) -> list[str]:
    """The ids of a page's sections, in order.

    Raises:
        VerificationError: it runs something, or loads something from elsewhere.
    """
    found = _Page()
    found.feed(page.read_text(encoding="utf-8"))
    found.close()
    if found.outside:
        raise VerificationError(f"{page.name} refers to {found.outside[0]}.")
    return found.sections


class _Page(HTMLParser):
    """Collects sections, and what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One opening tag."""
        if tag == "section":
            self.sections.append(dict(attrs).get("id") or "")
        if tag in ("script", "link", "iframe"):
            self.outside.append(tag)
        values = [value or "" for name, value in attrs if name in ("src", "href")]
        self.outside += [value for value in values if not value.startswith(_WITHIN)]
