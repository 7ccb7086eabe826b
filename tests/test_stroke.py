"""`--stroke` of a trained model: larger or smaller strokes, of the photograph's own size, with its own outlines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from percept_cli.core.data.photos import sample_photos
from percept_cli.core.generators import Generator, create_generator
from percept_cli.core.generators.style import StyleGenerator
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import LUMA, Photo, resize_image
from percept_cli.core.inference.restyle import restyle
from percept_cli.core.inference.run import run_generator
from percept_cli.core.inference.stroke import LOOK, add_outlines, restyle_at_stroke
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.pretrained.blending import load_shipped_upscaler
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime, choose_runtime
from percept_cli.core.strokes import parse_stroke_or_auto, stroke_for
from percept_cli.errors import UsageError
from tests.test_foreign_styles import PytorchExamples

CPU = ("--device", "cpu", "--precision", "fp32", "--threads", 1)
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")


class Hatching(Generator):
    """A generator of known strokes: lines every four pixels, wherever and whatever the photograph is."""

    def forward(self, images: Tensor) -> Tensor:
        columns = torch.arange(images.shape[-1]) % 4 < 2
        return columns.to(images.dtype).expand(len(images), 3, *images.shape[-2:]).contiguous()


class Identity(Generator):
    """A generator that changes nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return images


@pytest.fixture
def generator() -> StyleGenerator:
    torch.manual_seed(0)
    network = StyleGenerator(0.25).eval().requires_grad_(False)
    nn.init.normal_(network.last.weight, std=0.5)  # untrained weights paint hardly more than gray
    return network


def photograph(height: int, width: int) -> Tensor:
    """A part of a photograph with strong outlines, (1, 3, height, width)."""
    return load_image(sample_photos()[3]).pixels[..., 60 : 60 + height, 180 : 180 + width].contiguous()


def enlarged_by(scale: int, images: Tensor, **size: int) -> Tensor:
    """Images enlarged by the shipped upscaler, as `percept upscale` enlarges a file of 16 bits a channel."""
    network = RUNTIME.place_network(load_shipped_upscaler(scale, LOOK).network)
    return upscale(Photo(images, bits=16), network, RUNTIME, **size).pixels.float() / 65535


def strokes_across(images: Tensor) -> float:
    """The centroid of the spectrum of the luma along rows, in cycles per pixel: half of it is strokes twice as large."""
    luma = (images * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1)
    energy = torch.fft.rfft(luma - luma.mean(-1, keepdim=True)).abs().square().mean((0, 1))
    return float((energy * torch.fft.rfftfreq(luma.shape[-1])).sum() / energy.sum())


def test_stroke_1_changes_nothing(generator: StyleGenerator) -> None:
    """To the bit, of a photograph whose sides are odd too."""
    images = photograph(45, 61)
    expected = run_generator(generator, images, RUNTIME)
    assert torch.equal(restyle_at_stroke(generator, images, RUNTIME, 1.0), expected)
    assert torch.equal(restyle(Photo(images), generator, RUNTIME, stroke=1).pixels, expected)
    assert torch.equal(restyle(Photo(images), generator, RUNTIME).pixels, expected)


@pytest.mark.parametrize(
    ("stroke", "size", "shrunk", "scale"),
    [
        (2.0, (48, 64), (24, 32), 2),
        (2.0, (45, 61), (23, 31), 2),
        (1.5, (48, 63), (32, 42), 2),
        (2.5, (50, 66), (20, 27), 3),
        (4.0, (64, 80), (16, 20), 4),
        (6.0, (97, 100), (17, 17), 8),
    ],
)
def test_large_strokes_are_those_of_a_shrunk_photograph_enlarged(
    stroke: float, size: tuple[int, int], shrunk: tuple[int, int], scale: int, generator: StyleGenerator
) -> None:
    """Shrunk, restyled, enlarged by the shipped upscaler of the next larger factor to the exact size, with outlines."""
    images = photograph(*size)
    small = resize_image(images, *shrunk)
    painted = run_generator(generator, small, RUNTIME)
    larger = enlarged_by(scale, painted)
    if larger.shape[-2:] != size:
        # Resampled in one step, as `percept upscale --height` does; here both sides are given.
        larger = resize_image(larger, *size)
    result = restyle_at_stroke(generator, images, RUNTIME, stroke)

    assert result.shape == images.shape and result.min() >= 0 and result.max() <= 1
    torch.testing.assert_close(result, add_outlines(larger.clone(), images, small, painted), atol=1e-4, rtol=0)


def test_small_strokes_are_those_of_an_enlarged_photograph_shrunk(generator: StyleGenerator) -> None:
    """By bicubic interpolation there and back."""
    images = photograph(31, 45)
    painted = run_generator(generator, resize_image(images, 62, 90), RUNTIME)
    torch.testing.assert_close(
        restyle_at_stroke(generator, images, RUNTIME, 0.5), resize_image(painted, 31, 45), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 16), (33, 21)])
@pytest.mark.parametrize("stroke", [0.25, 0.7, 1.1, 2, 3, 8])
def test_every_photograph_keeps_its_size(size: tuple[int, int], stroke: float, generator: StyleGenerator) -> None:
    """Of a single pixel too."""
    result = restyle(Photo(torch.rand(1, 3, *size)), generator, RUNTIME, stroke=stroke)
    assert (result.height, result.width) == size
    assert torch.isfinite(result.pixels).all()


def test_lines_become_as_many_times_wider_and_stay_sharp() -> None:
    """Lines every 4 pixels are every 8 at a stroke of 2, every 16 at 4, every 2 at 0.5, with edges of few gray pixels."""
    gray = torch.full((1, 3, 32, 128), 0.5)

    def period(images: Tensor) -> float:
        energy = torch.fft.rfft(images[0, 1, 16] - images[0, 1, 16].mean()).abs()
        return images.shape[-1] / int(energy.argmax())

    for stroke, expected in ((0.5, 2), (1, 4), (2, 8), (4, 16)):
        assert period(restyle_at_stroke(Hatching(), gray, RUNTIME, stroke)) == expected
    sharp = restyle_at_stroke(Hatching(), gray, RUNTIME, 4.0)
    blurred = resize_image(Hatching()(gray[..., ::4, ::4]), 32, 128)

    def steepest(images: Tensor) -> float:
        return images[0, 1, 16].diff().abs().max().item()

    assert steepest(sharp) > 1.2 * steepest(blurred)


def test_a_shipped_style_paints_larger_strokes_in_a_flat_place() -> None:
    """The strokes of starry-night in a flat place with some grain: the centroid of their spectrum falls."""
    sky = 0.6 + 0.02 * torch.randn((1, 3, 192, 192), generator=torch.Generator().manual_seed(0))
    network = RUNTIME.place_network(load_generator("starry-night", "style").network)
    at = {
        stroke: strokes_across(restyle_at_stroke(network, sky, RUNTIME, stroke)[..., 32:-32, 32:-32])
        for stroke in (0.5, 1.0, 2.0)
    }
    assert 0.3 < at[2.0] / at[1.0] < 0.9 and at[1.0] < at[0.5]


def test_outlines_are_added_where_the_painting_follows_the_photograph() -> None:
    """In full where it changes nothing, inverted where it inverts, not at all where it does not follow."""
    images = photograph(64, 64)
    shrunk = resize_image(images, 32, 32)
    smooth = resize_image(shrunk, 64, 64)
    fine = ((images - smooth) * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)

    def share(painted: Tensor) -> float:
        """The slope of what is added against the photograph's fine part."""
        gray = torch.full((1, 3, 64, 64), 0.5)
        added = add_outlines(gray.clone(), images, shrunk, painted) - gray
        return float((added * fine).sum() / (3 * fine.square().sum()))

    guide = (shrunk * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True).expand(1, 3, 32, 32)
    assert share(guide) == pytest.approx(-share(1 - guide), abs=1e-3)
    assert 0.7 < share(guide) < 1
    assert share(guide / 2) == pytest.approx(share(guide) / 2, abs=0.05)
    assert share(torch.full_like(guide, 0.3)) == pytest.approx(0, abs=1e-5)
    unrelated = F.interpolate(torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0)), size=(32, 32))
    assert abs(share(unrelated)) < 0.2


def test_a_line_thinner_than_a_stroke_keeps_its_place_and_its_contrast() -> None:
    """Of a network that changes nothing, a line of one pixel at a stroke of 4: a quarter of its contrast is left without."""
    images = torch.full((1, 3, 64, 64), 0.8)
    images[..., 30] = 0.2
    plain = enlarged_by(4, resize_image(images, 16, 16))
    result = restyle_at_stroke(Identity(), images, RUNTIME, 4.0)

    def contrast(image: Tensor) -> float:
        """Of the line to the pixels two columns from it."""
        rows = image[0, 1, 16:48]
        return float((rows[:, [28, 32]].mean(1) - rows[:, 30]).mean())

    assert contrast(plain) < 0.25 and contrast(result) > 0.4
    assert int(result[0, 1, 32].argmin()) == 30


def test_hidden_colors_and_what_a_mask_keeps_have_no_effect_and_stay(generator: StyleGenerator) -> None:
    """What lies under full transparency changes no visible pixel; where the mask is black every bit stays."""
    alpha = torch.ones(1, 1, 40, 40)
    alpha[..., :20] = 0
    results = []
    for hidden in (0.0, 1.0):
        pixels = photograph(40, 40).clone()
        pixels[..., :20] = hidden
        results.append(restyle(Photo(pixels, alpha=alpha), generator, RUNTIME, stroke=2))
    assert results[0].alpha is not None and torch.equal(results[0].alpha, alpha)
    torch.testing.assert_close(results[0].pixels * alpha, results[1].pixels * alpha, atol=1e-5, rtol=0)

    photo = Photo(photograph(40, 40))
    masked = restyle(photo, generator, RUNTIME, stroke=2, mask=alpha).pixels
    assert torch.equal(masked[..., :20], photo.pixels[..., :20])
    assert torch.equal(masked[..., 20:], restyle(photo, generator, RUNTIME, stroke=2).pixels[..., 20:])


def test_holes_have_no_strokes() -> None:
    network = create_generator("translation", "unet", width=0.25, inputs=4).eval()
    with pytest.raises(UsageError, match="fills holes paints no strokes: leave --stroke at 1"):
        restyle(Photo(photograph(32, 32)), network, RUNTIME, stroke=2, mask=torch.ones(1, 1, 32, 32))


def test_auto_is_as_on_a_picture_of_512_pixels() -> None:
    """A picture of 12 megapixels needs strokes 5.9 times as large; small ones keep theirs, and 8 is the most."""
    assert parse_stroke_or_auto("auto") == "auto" and parse_stroke_or_auto("2.5") == 2.5
    assert stroke_for("auto", 512, 683) == 1 and stroke_for("auto", 300, 400) == 1
    assert stroke_for("auto", 4000, 3000) == 3000 / 512
    assert stroke_for("auto", 6000, 8000) == 8
    assert stroke_for(0.5, 4000, 3000) == 0.5


def test_the_command_paints_with_the_stroke_of_python(
    photos: Path, style_model: Path, tmp_path: Path, percept: Callable[..., Any]
) -> None:
    """To a size, with strength and colors; files are named by it, and `auto` on a small picture is 1."""
    source = photos / "hill.png"
    runtime = choose_runtime("cpu", "fp32", 1)
    generator = runtime.place_network(load_generator(str(style_model), "style").network)
    outcome = percept(
        "stylize", source, "-m", style_model, "--stroke", 2, "--strength", 0.8, "--keep-colors", "--size", 50, *CPU,
        "-o", f"{tmp_path}/",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    (made,) = tmp_path.glob("*.png")
    assert "_stroke-2.0" in made.name
    expected = restyle(load_image(source), generator, runtime, stroke=2, strength=0.8, keep_colors=True, size=50)
    torch.testing.assert_close(load_image(made).pixels, expected.pixels, atol=0.51 / 255, rtol=0)

    for stroke in ("auto", "1"):
        outcome = percept(
            "stylize", source, "-m", style_model, "--stroke", stroke, *CPU, "-o", tmp_path / f"{stroke}.bmp"
        )
        assert outcome.code == 0, outcome.stderr
    assert Image.open(tmp_path / "auto.bmp").tobytes() == Image.open(tmp_path / "1.bmp").tobytes()


def test_a_batch_through_a_network_of_others_keeps_sizes_and_transparency(
    photos: Path, tmp_path: Path, percept: Callable[..., Any]
) -> None:
    """A checkpoint of pytorch/examples, photographs of odd sizes; each result is that of its photograph alone."""
    model, folder = tmp_path / "mosaic.pth", tmp_path / "in"
    folder.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(PytorchExamples((32, 64, 128)).state_dict(), model)
    hill = Image.open(photos / "hill.png").convert("RGB")
    hill.save(folder / "a.png")
    transparent = hill.crop((3, 2, 70, 45)).convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(transparent.size))
    transparent.save(folder / "b.png")
    made = percept(
        "stylize", folder, "-m", model, "--stroke", 2, *CPU, "-o", f"{tmp_path}/out/", "--name", "{stem}.png"
    )
    alone = percept("stylize", folder / "b.png", "-m", model, "--stroke", 2, *CPU, "-o", tmp_path / "alone.png")
    assert made.code == alone.code == 0, made.stderr + alone.stderr
    assert Image.open(tmp_path / "out" / "a.png").size == hill.size
    result = Image.open(tmp_path / "out" / "b.png")
    assert result.getchannel("A").tobytes() == transparent.getchannel("A").tobytes()
    assert (tmp_path / "out" / "b.png").read_bytes() == (tmp_path / "alone.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-m", "wave", "--stroke", "9"], "--stroke 9: give 0.25 to 8; 2 makes strokes twice as large"),
        (["-m", "wave", "--stroke", "0.2"], "--stroke 0.2: give 0.25 to 8"),
        (["-m", "wave", "--stroke", "large"], "--stroke large: give a number from 0.25 to 8"),
        (
            ["--style", "STYLE", "--steps", "5", "--stroke", "auto"],
            "--stroke auto is for one pass: with --steps give a number",
        ),
        (["-m", "REPAIR", "--stroke", "2"], "repair repairs pictures and paints no strokes: leave --stroke out"),
    ],
)
def test_strokes_that_make_no_sense_are_refused(
    options: list[str], message: str, photos: Path, style_picture: Path, tmp_path: Path, percept: Callable[..., Any]
) -> None:
    repair = tmp_path / "repair.safetensors"
    if "REPAIR" in options:
        network = create_generator("translation", "unet", width=0.25)
        metadata = {
            "percept.format": "1", "role": "translation", "architecture": "unet", "arguments": network.arguments,
            "recipe": {"degrade": "noise"},
        }  # fmt: skip
        save_weights(repair, network.state_dict(), metadata)
    places = {"STYLE": str(style_picture), "REPAIR": str(repair)}
    given = [places.get(word, word) for word in options]
    outcome = percept("stylize", photos / "hill.png", *given, *CPU, "-o", tmp_path / "out.png")
    assert outcome.code == 2 and message in outcome.stderr, outcome.stderr
    assert not (tmp_path / "out.png").exists()
