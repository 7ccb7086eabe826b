"""Parts of HTML pages that open from disk: one file each, which loads nothing, for light and dark screens and for paper.

Every function takes plain text and returns HTML in which that text is escaped. Only what these functions returned may be
given as HTML. `page.css` and `page.js` beside this module are written into every page.
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
    """One picture (1, 3, H, W) in [0, 1], the name that readers choose it by, and what it shows for those who cannot see it."""

    label: str
    pixels: Tensor
    alt: str


def page(title: str, summary: str, sections: Sequence[str]) -> str:
    """A whole document. Its policy lets it load nothing but what is in it and run no other script than its own."""
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
    """A heading, what must be known to read what follows, and the parts below it."""
    lines = "\n".join([paragraph(note, "note") for note in notes] + list(parts))
    return f"<section>\n<h2>{escape(title)}</h2>\n{lines}\n</section>"


def subheading(title: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(title)}</h3>"


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph of text; kind: a class of the style sheet."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def picture(pixels: Tensor, alt: str, *, quality: int = 85, kind: str = "") -> str:
    """A picture (1, 3, H, W) in [0, 1] as WebP inside the page; quality `LOSSLESS` keeps every level.

    kind: a class of the style sheet; `drawing` is turned to dark where the page is dark, `crop` shows pixels as squares.
    """
    data = base64.b64encode(encode_image(Photo(pixels), ".webp", quality=quality)[0]).decode()
    height, width = pixels.shape[-2:]
    named = f' class="{kind}"' if kind else ""
    return (
        f'<img{named} src="data:image/webp;base64,{data}" width="{width}" height="{height}" alt="{escape(alt)}" '
        'draggable="false">'
    )


def captioned(image: str, caption: str) -> str:
    """A `picture` and the text below it."""
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def in_row(parts: Sequence[str]) -> str:
    """Parts in a row, each as wide as it is, in further rows where there is no room."""
    return '<div class="row">\n' + "\n".join(parts) + "\n</div>"


def beside(parts: Sequence[str], least: int = 340) -> str:
    """Parts beside each other, each at least `least` pixels wide, below each other where there is no room."""
    return f'<div class="beside" style="--least:{least}px">\n' + "\n".join(parts) + "\n</div>"


def scrolled(part: str, label: str) -> str:
    """What is wider than a telephone, in a frame that scrolls by itself; label: what readers are told it is."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{part}</div>'


def swipe(shots: Sequence[Shot], caption: str, *, quality: int = 85) -> str:
    """Pictures of one size laid over each other, and a slider that uncovers one of them; any two of more can be chosen.

    On paper all of them stand beside each other. caption: below them.
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
    """Rows whose first cell names them; columns: their headings, none for a list of names and values."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    kind = "figures" if columns else "facts"
    made = (
        f'<table class="{kind}">{f"<thead><tr>{head}</tr></thead>" if columns else ""}<tbody>\n{body}\n</tbody></table>'
    )
    return scrolled(made, label) if columns else made


def _choice(side: str, shots: Sequence[Shot], chosen: int) -> str:
    choices = "".join(
        f'<option value="{number}"{" selected" if number == chosen else ""}>{escape(shot.label)}</option>'
        for number, shot in enumerate(shots)
    )
    return f'<select aria-label="The {side} picture">{choices}</select>'


@cache
def _asset(name: str) -> str:
    return "\n" + (Path(__file__).parent / name).read_text(encoding="utf-8")
