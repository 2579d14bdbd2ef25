"""The description of the API as a page: made from OpenAPI, without a script, so that nothing is loaded from elsewhere.

Here: OpenAPI to HTML. Not here: what the resources are (their routers say it).
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; }
details { border: 1px solid #8886; border-radius: 6px; margin: .4rem 0; padding: .3rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 4.5rem; }
table { border-collapse: collapse; width: 100%; } th, td { border-top: 1px solid #8884; padding: .2rem .6rem .2rem 0; }
th, td { text-align: left; vertical-align: top; overflow-wrap: anywhere; } pre { overflow: auto; }
:focus-visible { outline: 3px solid Highlight; }
"""
_METHODS = ("get", "post", "put", "patch", "delete")


def policy() -> str:
    """The Content Security Policy of the page: its own style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    own = f"default-src 'none'; style-src 'sha256-{digest}'"
    return f"{own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def page(described: Mapping[str, Any]) -> str:
    """All operations by tag, each with its parameters, body, answers and a command that calls it."""
    return "\n".join(_page(described))


def _page(described: Mapping[str, Any]) -> Iterator[str]:
    info = described["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
    yield f"<h1>{title}</h1><p>{escape(info.get('description', ''))} The same for programs: "
    yield '<a href="openapi.json">openapi.json</a>.</p>'
    by_tag: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        for method in _METHODS:
            if method in methods:
                tag = (methods[method].get("tags") or ["Others"])[0]
                by_tag.setdefault(tag, []).append(_operation(described, method, path, methods[method]))
    for tag, operations in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>"
        yield from operations
    yield "</main></body></html>"


def _operation(described: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    told = operation.get("description") or operation.get("summary", "")
    first = told.splitlines()[0] if told else ""
    inside = [f"<p>{escape(told)}</p>"]
    parameters = [
        (f"{one['name']} ({one['in']})", _type(one.get("schema", {})), one.get("required"), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    inside.append(_table("Parameters", parameters))
    content = operation.get("requestBody", {}).get("content", {})
    for media, body in content.items():
        schema = _resolved(described, body.get("schema", {}))
        needed = schema.get("required", ())
        rows = [
            (name, _type(one), name in needed, one.get("description", ""))
            for name, one in schema.get("properties", {}).items()
        ]
        inside.append(_table(f"Body, {media}", rows))
    inside.append(f"<p>Answers: {escape(', '.join(operation.get('responses', {})))}.</p>")
    sent = " -H 'Content-Type: application/json' -d '{…}'" if "application/json" in content else ""
    what = "" if method == "get" else f" -X {method.upper()}"
    inside.append(f"<pre tabindex='0'>{escape(f'curl{what}{sent} http://127.0.0.1:8000{path}')}</pre>")
    head = f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(first)}</summary>"
    return f"<details>{head}{''.join(inside)}</details>"


def _table(title: str, rows: list[tuple[str, str, Any, str]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(type_)}</td><td>{'needed' if needed else ''}</td>"
        f"<td>{escape(told)}</td></tr>"
        for name, type_, needed, told in rows
    )
    head = "<tr><th>name</th><th>type</th><th></th><th>meaning</th></tr>"
    return f"<h3>{escape(title)}</h3><table>{head}{lines}</table>"


def _resolved(described: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return described["components"]["schemas"][name] if name else schema


def _type(schema: Mapping[str, Any]) -> str:
    """In words: `string`, `array of integer`, `a or b`, one of some values, or the name of a model."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    name = schema.get("$ref", "").rpartition("/")[2]
    return name or str(schema.get("format") or schema.get("type", "any"))
