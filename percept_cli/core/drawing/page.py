"""Parts of HTML pages: each page is one file that loads nothing else, for light and dark screens and for print.

Every function escapes the text it is given. Arguments that are HTML (`sections`, `parts`, `image`) must be results of
these functions. `page.css` and `page.js` of this folder are written into every page.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from torch import Tensor

from percept_cli import __version__
from percept_cli.core.images.encode import encode_image
from percept_cli.core.images.photo import Photo

LOSSLESS = 100


@dataclass(frozen=True)
class Shot:
    """One picture (1, 3, H, W) in [0, 1]. label: its name on the page. alt: a description of it in words."""

    label: str
    pixels: Tensor
    alt: str


def page(title: str, summary: str, sections: Sequence[str]) -> str:
    """A whole HTML document. Its content security policy forbids all network access and all scripts but its own."""
    style, script = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    body = "\n".join(sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>
{paragraph(summary, "summary") if summary else ""}</header>
<main>
{body}
</main>
<footer>Made by percept {escape(__version__)}.</footer>
<script>{script}</script>
</body>
</html>
"""


def section(title: str, parts: Sequence[str], notes: Sequence[str] = ()) -> str:
    """A heading, notes that explain the section, and its parts."""
    lines = "\n".join([paragraph(note, "note") for note in notes] + list(parts))
    return f"<section>\n<h2>{escape(title)}</h2>\n{lines}\n</section>"


def subheading(title: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(title)}</h3>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of text. kind: a class of the style sheet."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def picture(pixels: Tensor, alt: str, *, quality: int = 85, kind: str = "") -> str:
    """A picture (1, 3, H, W) in [0, 1] as WebP inside the page; quality `LOSSLESS` keeps every pixel of its 8 bits.

    kind: a class of the style sheet; `drawing` is inverted on dark pages, `crop` is enlarged with pixels as squares.
    """
    data = base64.b64encode(encode_image(Photo(pixels), ".webp", quality=quality)[0]).decode()
    height, width = pixels.shape[-2:]
    named = f' class="{kind}"' if kind else ""
    return (
        f'<img{named} src="data:image/webp;base64,{data}" width="{width}" height="{height}" alt="{escape(alt)}" '
        'draggable="false">'
    )


def captioned(image: str, caption: str) -> str:
    """A `picture` with a caption below it."""
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def in_row(parts: Sequence[str]) -> str:
    """Parts side by side in their own widths, wrapped into further rows where there is no room."""
    return '<div class="row">\n' + "\n".join(parts) + "\n</div>"


def beside(parts: Sequence[str], least: int = 340) -> str:
    """Parts side by side in equal widths of at least `least` pixels, wrapped into further rows where there is no room."""
    return f'<div class="beside" style="--least:{least}px">\n' + "\n".join(parts) + "\n</div>"


def scrolled(part: str, label: str) -> str:
    """A wide part in a frame that scrolls horizontally. label: its name for screen readers."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{part}</div>'


def swipe(shots: Sequence[Shot], caption: str, *, quality: int = 85) -> str:
    """Two or more pictures of one size over each other, with a slider that divides a left and a right one.

    Of more than two, readers choose which. In print all are side by side. caption: the text below them.
    """
    height, width = shots[0].pixels.shape[-2:]
    layers = []
    for number, shot in enumerate(shots):
        side = ("left", "right")[number] if number < 2 else ""
        layers.append(
            f'<figure class="shot {side}">{picture(shot.pixels, shot.alt, quality=quality)}'
            f"<figcaption>{escape(shot.label)}</figcaption></figure>"
        )
    if len(shots) == 2:
        names = f"<span>{escape(shots[0].label)}</span><span>{escape(shots[1].label)}</span>"
    else:
        names = _choice("left", shots, 0) + _choice("right", shots, 1)
    label = escape(f"How much of the left picture is shown: {', '.join(shot.label for shot in shots)}")
    return f"""<div class="swipe" style="--width:{width}px">
<div class="names">{names}</div>
<div class="stack" style="aspect-ratio:{width}/{height}">
{"".join(layers)}
</div>
<input type="range" min="0" max="100" value="50" step="any" aria-label="{label}">
<p class="note">{escape(caption)}</p>
</div>"""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """A table; the first cell of a row is its heading. columns: headings, none for a list of names and values."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    if not columns:
        return f'<table class="facts"><tbody>\n{body}\n</tbody></table>'
    return scrolled(f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>', label)


def _choice(side: str, shots: Sequence[Shot], chosen: int) -> str:
    choices = "".join(
        f'<option value="{number}"{" selected" if number == chosen else ""}>{escape(shot.label)}</option>'
        for number, shot in enumerate(shots)
    )
    return f'<select aria-label="The {side} picture">{choices}</select>'


@cache
def _asset(name: str) -> str:
    return "\n" + (Path(__file__).parent / name).read_text(encoding="utf-8")
