"""Pages that people read, from templates that lie beside their writers: whatever a value holds, it stays a value.

Here: HTML, in which every value is escaped unless a template made it. Not here: what a page says (its writer and its
template), nor Markdown and XML (`fermentation/writers/batch_report` escapes what breaks a cell or starts a heading;
`occurrences/writers/dwca_eml` builds a tree, whose texts cannot become tags).
"""

from pathlib import Path
from typing import Any


def html(template: Path, **values: Any) -> str:
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
