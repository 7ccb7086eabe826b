"""Parts of pages that open from disk: one file, nothing fetched, light and dark, for telephones and for paper.

Every function takes plain text and returns HTML in which it is escaped; only what these functions returned goes in as HTML.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

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
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
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
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>
{paragraph(summary, "summary") if summary else ""}</header>
<main>
{body}
</main>
<footer>Made by percept {escape(__version__)}.</footer>
<script>{_SCRIPT}</script>
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


_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1a1a1a; --muted: #5f5f5f; --line: #d9d9d9; --accent: #0072b2 }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #161616; --ink: #ececec; --muted: #a8a8a8; --line: #3b3b3b; --accent: #56b4e9 }
  img.drawing { filter: invert(0.914) hue-rotate(180deg) }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.2rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; -webkit-text-size-adjust: 100% }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.3rem 0; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 2.4rem 0 0.4rem; padding-top: 0.8rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.6rem 0 0.5rem; overflow-wrap: anywhere }
p { margin: 0.4rem 0 0.8rem; max-width: 46rem; overflow-wrap: anywhere }
.note, figcaption, footer, .names { color: var(--muted); font-size: 0.9rem }
footer { margin-top: 3rem; padding-top: 0.8rem; border-top: 1px solid var(--line) }
figure { margin: 0 }
img { display: block; max-width: 100%; height: auto }
img.crop { width: 100%; image-rendering: pixelated }
.beside { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, var(--least)), 1fr)) }
.beside > * { min-width: 0 }
.scroll { overflow-x: auto; max-width: 100% }
.scroll img { max-width: none }
table { border-collapse: collapse; font-size: 0.92rem; margin: 0.6rem 0 }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 1rem 0.3rem 0; border-bottom: 1px solid var(--line) }
.facts { width: 100% } .facts th { width: 11rem; font-weight: 600 } .facts td { overflow-wrap: anywhere }
.figures td, .figures th + th { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.row { display: flex; flex-wrap: wrap; gap: 0 1.2rem }
.swipe { flex: 0 1 auto; width: max(var(--width), 12rem); max-width: 100% } .swipe .note { margin: 0 0 0.6rem }
.names { display: flex; justify-content: space-between; gap: 1rem; margin-bottom: 0.3rem }
.names span { overflow-wrap: anywhere } .names select { font: inherit; max-width: 48% }
.stack { display: grid; position: relative; width: 100%; max-width: var(--width); touch-action: pan-y;
  user-select: none; cursor: ew-resize;
  --at: 50% }
.stack::after { content: ""; position: absolute; inset: 0 auto 0 var(--at); width: 2px; margin-left: -1px; z-index: 3;
  background: #ffffff; box-shadow: 0 0 2px #000000 }
.shot { grid-area: 1 / 1; visibility: hidden } .shot img { width: 100% } .shot figcaption { display: none }
.shot.right { visibility: visible } .shot.left { visibility: visible; z-index: 2; clip-path: inset(0 calc(100% - var(--at)) 0 0) }
.shot.left.right { clip-path: none }
input[type=range] { width: 100%; max-width: var(--width); margin: 0.4rem 0 0; accent-color: var(--accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
@media (max-width: 30rem) {
  body { padding: 0.8rem }
  .facts, .facts tbody, .facts tr, .facts th, .facts td { display: block; width: 100% } .facts th { border: 0; padding-bottom: 0 }
}
@page { margin: 1.5cm }
@media print {
  body { padding: 0; max-width: none; font-size: 10pt }
  tr, figure, .swipe, .beside > *, .scroll { break-inside: avoid } h2, h3, .note { break-after: avoid }
  .swipe { width: 100% } .stack { max-width: none } .names, input[type=range] { display: none }
  .stack { aspect-ratio: auto !important; grid-template-columns: repeat(auto-fit, 6cm); gap: 0.3cm }
  .stack::after { content: none }
  .shot, .shot.left { grid-area: auto; visibility: visible; clip-path: none } .shot figcaption { display: block }
  .scroll { overflow: visible } .scroll img { max-width: 100% } .figures { font-size: 8pt }
}
"""

_SCRIPT = """
for (const swipe of document.querySelectorAll('.swipe')) {
  const stack = swipe.querySelector('.stack'), range = swipe.querySelector('input');
  const shots = [...stack.children], choices = [...swipe.querySelectorAll('select')];
  const move = () => stack.style.setProperty('--at', range.value + '%');
  const drag = event => {
    const box = stack.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    move();
  };
  const choose = () => shots.forEach((shot, number) => {
    shot.classList.toggle('left', number == choices[0].value);
    shot.classList.toggle('right', number == choices[1].value);
  });
  range.addEventListener('input', move);
  stack.addEventListener('pointerdown', event => { stack.setPointerCapture(event.pointerId); drag(event); });
  stack.addEventListener('pointermove', event => { if (stack.hasPointerCapture(event.pointerId)) drag(event); });
  choices.forEach(choice => choice.addEventListener('change', choose));
  move();
  if (choices.length) choose();
}
"""
