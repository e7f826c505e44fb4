"""Model cards as pages."""

from __future__ import annotations

import html

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · ts-resformer</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/page.css">
</head>
<body>
<main class="card-body">
{card}</main>
</body>
</html>
"""


def card_page(name: str, card: str) -> str:
    """Return a card as an HTML document; HTML within the card is shown as text.

    Parameters
    ----------
    card : Markdown
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = _without_empty_heads(markdown.parse(card))
    body = markdown.renderer.render(tokens, markdown.options, {})
    return _PAGE.format(title=html.escape(name), card=body)


def _without_empty_heads(tokens: list[Token]) -> list[Token]:
    """Leave out the heads of tables that say nothing, which Markdown demands and HTML does not."""
    kept: list[Token] = []
    for token in tokens:
        kept.append(token)
        if token.type == "thead_close":
            start = max(i for i, each in enumerate(kept) if each.type == "thead_open")
            if not any(each.content.strip() for each in kept[start:]):
                del kept[start:]
    return kept
