"""`percept visualize report`: one page that fetches nothing, whose figures are `percept compare`'s and whose text is only text."""

import base64
import csv
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from percept_cli.core.data.corruption import corrupt
from percept_cli.core.drawing import page as html
from percept_cli.core.generators import Generator
from percept_cli.core.generators.translation import TranslationGenerator
from percept_cli.core.images.decode import load_image
from percept_cli.core.measures.pixels import psnr
from percept_cli.core.pretrained.files import load_weights_and_metadata, save_weights
from percept_cli.core.pretrained.generators import LoadedGenerator
from percept_cli.core.runtime import choose_runtime
from percept_cli.core.visualization import trial as trial_module
from percept_cli.core.visualization.trial import SIZES, Trial, load_trial, take_samples
from tests.conftest import Percept
from tests.test_invert_autoencoder import save_autoencoder
from tests.test_visualize_history import write_log

CPU = ("--device", "cpu", "--threads", 1, "--precision", "fp32")
HOSTILE = "<script>alert(1)</script>\"'&$x$"


class Page(HTMLParser):
    """What a page is made of: every element with its attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(autouse=True)
def short_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds are measured on small pictures, in three runs: here only that there is one counts."""
    monkeypatch.setattr(trial_module, "SPEED_SIDE", 64)
    monkeypatch.setattr(trial_module, "SPEED_SECONDS", 0.0)


def check_alone(page: Page) -> None:
    """Nothing is loaded from anywhere, pictures say what they show, and one script runs: its own."""
    addresses = [
        value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href")
    ]
    assert addresses and all(str(address).startswith("data:") for address in addresses)
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("script")) == 1
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]


def test_whatever_text_a_page_is_given_stays_text() -> None:
    """Titles, labels, captions, cells: a script's tag in them is shown, and no element comes of it."""
    pixels = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    shots = [html.Shot(f"{HOSTILE}{number}", pixels, HOSTILE) for number in range(3)]
    parts = [
        html.swipe(shots, HOSTILE), html.swipe(shots[:2], HOSTILE), html.table((HOSTILE,), [(HOSTILE, HOSTILE)], HOSTILE),
        html.captioned(html.picture(pixels, HOSTILE), HOSTILE), html.subheading(HOSTILE), html.paragraph(HOSTILE),
    ]  # fmt: skip
    page = Page(html.page(HOSTILE, HOSTILE, [html.section(HOSTILE, parts, [HOSTILE])]))
    check_alone(page)
    assert page.all("img")[0]["alt"] == HOSTILE
    assert sum(HOSTILE in text for text in page.text) >= 12


def test_the_policy_allows_just_the_pages_own_script() -> None:
    """Its sha256 is the one that stands in the policy."""
    text = html.page("title", "", [])
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text


def test_three_sizes_of_which_a_small_photograph_has_fewer(style_model: Path) -> None:
    """None is enlarged: the last of a photograph of 200 pixels is itself."""
    trial = load_trial(str(style_model), choose_runtime("cpu", "fp32", 1))
    small = take_samples(trial, "small", torch.rand(1, 3, 200, 260))
    assert [min(sample.after.shape[-2:]) for sample in small] == [128, 200]
    assert SIZES == (128, 256, 512) and torch.equal(small[0].before, small[0].original)


def test_an_upscaler_is_shown_beside_bicubic_and_measured_against_the_photograph() -> None:
    """Cut to a multiple of its scale; a model that repeats pixels gets just those of the shrunk photograph."""
    loaded = LoadedGenerator(Generator(), "nearest", "nearest", {})
    trial = Trial(loaded, "upscaler", lambda small: small.repeat_interleave(3, -1).repeat_interleave(3, -2), scale=3)
    photo = torch.rand(1, 3, 130, 131, generator=torch.Generator().manual_seed(0))
    sample = take_samples(trial, "noise", photo)[0]
    assert sample.original.shape == sample.before.shape == sample.after.shape == (1, 3, 126, 129)
    assert torch.equal(sample.after[..., ::3, ::3], sample.after[..., 2::3, 1::3])
    assert psnr(sample.before, sample.original) > psnr(sample.after, sample.original)


def test_a_report_of_a_style_holds_its_recipe_curves_and_the_figures_of_its_samples(
    style_model: Path, photos: Path, tmp_path: Path, percept: Percept
) -> None:
    """Two photographs: two sliders; the file's metadata is text on the page, the log beside it is drawn."""
    weights, metadata = load_weights_and_metadata(style_model)
    recipe = {"steps": 7, "style_layers": ["relu1_1", "relu2_1"], "arguments": {"width": 0.25}}
    model = tmp_path / "mine.safetensors"
    save_weights(model, weights, {**metadata, "recipe": recipe, "styles": json.dumps([HOSTILE])})
    write_log(tmp_path / "mine.run", [float(5 - step) for step in range(4)])
    out, data = tmp_path / "mine.html", tmp_path / "mine.csv"
    outcome = percept(
        "visualize", "report", "-m", model, photos / "hill.png", photos / "lake.jpg", "-o", out, "--data", data, "--json",
        "--metrics", "psnr,ssim", *CPU,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    fields = json.loads(outcome.stdout)
    assert fields["role"] == "style" and fields["megapixels_per_second"] > 0

    text = out.read_text(encoding="utf-8")
    page = Page(text)
    check_alone(page)
    shown = "\n".join(page.text)
    assert [each["type"] for each in page.all("input")] == ["range", "range"]
    assert "relu1_1, relu2_1" in shown and HOSTILE in shown
    assert "megapixels of the result a second, on cpu in fp32, 1 thread" in shown
    assert sum(image["alt"].startswith(("total loss", "content", "style.relu1_1")) for image in page.all("img")) == 3

    rows = list(csv.DictReader(data.open()))
    trial = load_trial(str(model), choose_runtime("cpu", "fp32", 1))
    from percept_cli.core.images.decode import load_image

    (sample,) = take_samples(trial, "hill.png", load_image(photos / "hill.png").pixels)
    (row,) = [row for row in rows if row["photograph"] == "hill.png" and row["picture"] == "restyled"]
    assert float(row["psnr_rgb"]) == pytest.approx(psnr(sample.after, sample.original).item(), rel=1e-6)
    assert row["size"] == sample.size == "75x61"


def test_inverters_and_autoencoders_are_tried_too(tmp_path: Path) -> None:
    """An inverter gets the middle square, an autoencoder the whole picture; what comes back has its size."""
    runtime, photo = choose_runtime("cpu", "fp32", 1), torch.rand(1, 3, 64, 90)
    square = take_samples(load_trial("compact-conv3_4", runtime), "noise", photo)
    assert [sample.after.shape for sample in square] == [(1, 3, 64, 64)]
    whole = take_samples(load_trial(str(save_autoencoder(tmp_path / "a.safetensors")), runtime), "noise", photo)
    assert [sample.after.shape for sample in whole] == [(1, 3, 64, 90)] and torch.equal(whole[0].original, photo)


def test_without_matplotlib_a_report_says_what_its_curves_need(
    style_model: Path, photos: Path, tmp_path: Path, percept: Percept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is there."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_log(tmp_path / "run", [2.0, 1.0])
    arguments = ("-m", style_model, photos / "hill.png", "--log", tmp_path / "run", "--metrics", "psnr")
    outcome = percept("visualize", "report", *arguments, "-o", f"{tmp_path}/new/folder/", *CPU)  # which is made
    assert outcome.code == 0, outcome.stderr
    (file,) = (tmp_path / "new" / "folder").glob("blobs_report*.html")
    page = Page(file.read_text(encoding="utf-8"))
    assert sum("pip install 'percept[plots]'" in text for text in page.text) == 2
    assert len(page.all("img")) == 2 and any("psnr_rgb" in text for text in page.text)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "Give a model"),
        (("-m", "wave", "-o", "page.png"), 2, "ends in .html"),
        (("-m", "wafe"), 5, "Did you mean 'wave'?"),
        (("-m", "compact"), 5, "role 'extractor'"),
        (("-m", "any-style"), 5, "role 'any-style': give one of style"),
        (("-m", "missing.safetensors"), 5, "no such weights file"),
        (("-m", "wave", "--metrics", "beauty"), 2, "Unknown metric 'beauty'"),
    ],
)
def test_what_cannot_be_reported_is_said_in_a_sentence(
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    percept: Percept,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = percept("visualize", "report", *arguments, *CPU)
    assert (outcome.code, outcome.stdout) == (code, "") and sentence in outcome.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["noise", "mask"])
def test_a_translation_that_restores_is_given_damaged_photographs(kind: str, tmp_path: Path, photos: Path) -> None:
    """A photograph damaged by the middle amount stands beside the result; outside holes the result is the photograph."""
    torch.manual_seed(0)
    network = TranslationGenerator(0.1, inputs=4 if kind == "mask" else 3)
    path = tmp_path / "restore.safetensors"
    metadata = {"percept.format": "1", "role": "translation", "architecture": "unet", "arguments": network.arguments,
                "recipe": {"mode": "degrade", "degrade": kind, "amount": [10, 30]}}  # fmt: skip
    save_weights(path, network.state_dict(), metadata)
    trial = load_trial(str(path), choose_runtime("cpu", "fp32", 1))
    assert trial.damage == (kind, 20)
    (sample,) = take_samples(trial, "hill.png", load_image(photos / "hill.png").pixels)
    damaged = corrupt(sample.original[0], kind, 20, np.random.default_rng(0))[None]
    assert torch.equal(sample.before, damaged[:, :3])
    if kind == "mask":
        seen = (damaged[:, 3:] == 0).expand_as(sample.after)
        assert torch.equal(sample.after[seen], sample.original[seen])
        assert not torch.equal(sample.after, sample.original)
