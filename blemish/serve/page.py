"""The page that describes the server, made from its OpenAPI description; it needs no script and no network."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#16181d}"
    "code,pre{background:#f2f3f5;border-radius:4px}code{padding:.1em .3em}pre{padding:1rem;overflow:auto}"
    "section{border-top:1px solid #d9dce1;padding:1rem 0}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}"
)
_TRY = """curl --data-binary @part.png http://127.0.0.1:8000/inspect
curl -F images=@first.png -F images=@second.png http://127.0.0.1:8000/inspect/many"""


def describe_page(schema: Mapping[str, Any]) -> str:
    """An HTML page with each address of an OpenAPI description, its parameters, answers, and their fields."""
    info, models = schema["info"], schema.get("components", {}).get("schemas", {})
    sections = [
        _operation(path, method, operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    described = "".join(_model(name, model) for name, model in sorted(models.items()))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1><p>{_text(info.get('description', ''))}</p>"
        f'<p>The description for programs is at <a href="openapi.json">openapi.json</a>.</p><pre>{_text(_TRY)}</pre>'
        f"{''.join(sections)}<section><h2>Fields</h2>{described}</section></html>"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{_text(each['name'])}</code></td><td>{_text(each.get('description', ''))}</td></tr>"
        for each in operation.get("parameters", [])
    )
    kinds = ", ".join(operation.get("requestBody", {}).get("content", {}))
    answers = "".join(
        f"<tr><td><code>{_text(status)}</code></td><td>{_text(answer['description'])}</td><td>{_answer(answer)}</td></tr>"
        for status, answer in operation.get("responses", {}).items()
    )
    body = f"<p>Body: <code>{_text(kinds)}</code></p>" if kinds else ""
    return (
        f"<section><h2><code>{_text(method.upper())} {_text(path)}</code></h2>"
        f"<p>{_text(operation.get('description', ''))}</p>{body}"
        f"{f'<table>{parameters}</table>' if parameters else ''}<h3>Answers</h3><table>{answers}</table></section>"
    )


def _answer(answer: Mapping[str, Any]) -> str:
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    name = reference.rpartition("/")[2]
    return f'<a href="#{_text(name)}">{_text(name)}</a>' if name else ""


def _model(name: str, model: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{_text(field)}</code></td><td>{_text(_kind(facts))}</td>"
        f"<td>{_text(facts.get('description', ''))}</td></tr>"
        for field, facts in model.get("properties", {}).items()
    )
    told = _text(model.get("description", ""))
    return f'<h3 id="{_text(name)}">{_text(name)}</h3><p>{told}</p><table>{rows}</table>'


def _kind(facts: Mapping[str, Any]) -> str:
    if "anyOf" in facts:
        return " or ".join(_kind(each) for each in facts["anyOf"])
    if "enum" in facts:
        return " or ".join(map(json.dumps, facts["enum"]))
    return str(facts.get("type") or facts.get("$ref", "").rpartition("/")[2])


def _text(value: object) -> str:
    return html.escape(str(value))
