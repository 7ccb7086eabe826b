"""A generator on a photograph: the mixture asked for, the photograph's own colors, transparency and size."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from percept_cli.core.generators import Generator
from percept_cli.core.generators.style import JohnsonGenerator, StyleGenerator
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.masks import load_mask
from percept_cli.core.images.photo import LUMA, Photo
from percept_cli.core.inference.colors import keep_original_colors
from percept_cli.core.inference.restyle import finish, restyle
from percept_cli.core.inference.run import run_generator
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime, choose_runtime

CPU = ("--device", "cpu", "--precision", "fp32", "--threads", 1)

pytestmark = pytest.mark.numerical
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")


class Negative(Generator):
    """A generator with a known answer."""

    smallest = 16

    def forward(self, images: Tensor) -> Tensor:
        return 1 - images


@pytest.fixture
def generator() -> StyleGenerator:
    torch.manual_seed(0)
    network = StyleGenerator(0.25).eval().requires_grad_(False)
    nn.init.normal_(network.last.weight, std=0.5)  # untrained weights paint hardly more than gray
    return network


def noise_photo(height: int, width: int, seed: int = 0, *, alpha: Tensor | None = None) -> Photo:
    pixels = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(seed))
    return Photo(pixels, alpha=alpha, exif=b"exif", format="PNG")


def luma(images: Tensor) -> Tensor:
    return (images * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1)


def test_strength_mixes_photograph_and_style() -> None:
    """0 is the photograph, 1 the style, 0.5 their mean."""
    photo = noise_photo(20, 30)
    assert torch.equal(restyle(photo, Negative(), RUNTIME, strength=0.0).pixels, photo.pixels)
    assert torch.equal(restyle(photo, Negative(), RUNTIME, strength=1.0).pixels, 1 - photo.pixels)
    assert torch.equal(restyle(photo, Negative(), RUNTIME).pixels, 1 - photo.pixels)
    half = restyle(photo, Negative(), RUNTIME, strength=0.5).pixels
    torch.testing.assert_close(half, torch.full_like(half, 0.5))


def test_kept_colors_are_the_photographs_and_brightness_is_the_styles() -> None:
    """Luma equals the restyled picture's, differences between channels the photograph's, where nothing is clipped."""
    torch.manual_seed(0)
    photograph, restyled = 0.4 + 0.2 * torch.rand(2, 1, 3, 8, 9)
    result = keep_original_colors(restyled, photograph)
    torch.testing.assert_close(luma(result), luma(restyled))
    torch.testing.assert_close(result[:, 0] - result[:, 2], photograph[:, 0] - photograph[:, 2])
    torch.testing.assert_close(result[:, 1] - result[:, 2], photograph[:, 1] - photograph[:, 2])


def test_kept_colors_stay_in_range() -> None:
    """A color that a brighter stroke would push past white is clipped."""
    red, white = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    result = keep_original_colors(white, red)
    assert result.max() == 1 and result.min() >= 0


def test_strength_comes_after_the_colors() -> None:
    """At strength 0 the photograph is untouched even with its colors kept."""
    photo, style = torch.rand(2, 1, 3, 5, 5)
    assert torch.equal(finish(style, photo, strength=0.0, keep_colors=True), photo)
    expected = (photo + keep_original_colors(style, photo)) / 2
    torch.testing.assert_close(finish(style, photo, strength=0.5, keep_colors=True), expected)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (15, 16), (17, 40), (33, 21)])
@pytest.mark.parametrize("kind", [StyleGenerator, JohnsonGenerator])
def test_any_photograph_keeps_its_size(kind: type[StyleGenerator | JohnsonGenerator], size: tuple[int, int]) -> None:
    """Thumbnails too, smaller than what the network can reflect."""
    network = kind(0.25, norm="instance").eval()
    result = restyle(noise_photo(*size), network, RUNTIME)
    assert (result.height, result.width) == size
    assert torch.isfinite(result.pixels).all()


def test_the_result_is_an_image(generator: StyleGenerator) -> None:
    """Float32 in [0, 1] on the processor, whatever the network exceeds, in bf16 as in fp32; and not the photograph."""
    photo = noise_photo(32, 40)
    for dtype in (torch.float32, torch.bfloat16):
        pixels = restyle(photo, generator, Runtime(torch.device("cpu"), dtype, "")).pixels
        assert pixels.dtype == torch.float32 and pixels.device.type == "cpu"
        assert pixels.min() >= 0 and pixels.max() <= 1
        assert (pixels - photo.pixels).abs().mean() > 0.05


def test_size_is_the_short_side() -> None:
    """A photograph of 20 x 30 at size 40 is 40 x 60, its transparency with it."""
    photo = noise_photo(20, 30, alpha=torch.ones(1, 1, 20, 30))
    result = restyle(photo, Negative(), RUNTIME, size=40)
    assert (result.height, result.width) == (40, 60)
    assert result.alpha is not None and result.alpha.shape == (1, 1, 40, 60)


def test_transparency_and_metadata_are_kept(generator: StyleGenerator) -> None:
    """Only pixels change: alpha, EXIF and format are the photograph's."""
    alpha = torch.rand((1, 1, 24, 20), generator=torch.Generator().manual_seed(1))
    photo = noise_photo(24, 20, alpha=alpha)
    result = restyle(photo, generator, RUNTIME)
    assert result.alpha is not None and torch.equal(result.alpha, alpha)
    assert dataclasses.replace(result, pixels=photo.pixels, alpha=alpha) == photo


@pytest.mark.parametrize("size", [None, 48])
@pytest.mark.parametrize("keep_colors", [False, True])
def test_hidden_colors_do_not_bleed(generator: StyleGenerator, size: int | None, keep_colors: bool) -> None:
    """What color lies under full transparency changes no visible pixel, at another size neither."""
    alpha = torch.ones(1, 1, 24, 24)
    alpha[..., :12] = 0
    results = []
    for hidden in (0.0, 1.0):
        pixels = noise_photo(24, 24).pixels.clone()
        pixels[..., :12] = hidden
        results.append(restyle(Photo(pixels, alpha=alpha), generator, RUNTIME, size=size, keep_colors=keep_colors))
    black, white = results
    assert black.alpha is not None and white.alpha is not None
    torch.testing.assert_close(black.pixels * black.alpha, white.pixels * white.alpha, atol=1e-5, rtol=0)


def test_strength_0_returns_a_transparent_photograph() -> None:
    """Through premultiplication and back, where anything is visible."""
    alpha = torch.linspace(0, 1, 20).expand(1, 1, 20, 20).contiguous()
    photo = noise_photo(20, 20, alpha=alpha)
    result = restyle(photo, Negative(), RUNTIME, strength=0.0)
    torch.testing.assert_close(result.pixels * alpha, photo.pixels * alpha)


def test_what_half_precision_makes_infinite_is_computed_again() -> None:
    """A network that passes 65,504 on its way overflows in fp16; the result is that of fp32, not black or noise."""

    class Loud(Generator):
        def __init__(self) -> None:
            super().__init__()
            self.louder, self.softer = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
            self.louder.weight.data = 1e6 * torch.eye(3).view(3, 3, 1, 1)
            self.softer.weight.data = 1e-6 * torch.eye(3).view(3, 3, 1, 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.softer(self.louder(images))

    pixels = noise_photo(8, 8).pixels
    half = Runtime(torch.device("cpu"), torch.float16, "")
    network = Loud()
    with torch.no_grad():
        with half.autocast():
            assert not torch.isfinite(network(pixels)).all()
        torch.testing.assert_close(run_generator(network, pixels, half), pixels)


def test_restyling_from_python_gives_what_the_command_gives(
    photos: Path, style_model: Path, tmp_path: Path, percept: Callable
) -> None:
    """In a few lines: with the options of the command under its names, and a mask."""
    source, mask = photos / "hill.png", tmp_path / "mask.png"
    Image.linear_gradient("L").resize((75, 61)).save(mask)
    runtime = choose_runtime("cpu", "fp32", 1)
    generator = runtime.place_network(load_generator(str(style_model), "style").network)
    cases: list[tuple[list[object], dict[str, Any]]] = [
        (["--strength", 0.6, "--keep-colors", "--size", 40], {"strength": 0.6, "keep_colors": True, "size": 40}),
        (["--mask", mask], {"mask": load_mask(mask, source, 61, 75)}),
    ]
    for options, arguments in cases:
        outcome = percept(
            "stylize",
            source,
            "-m",
            style_model,
            *options,
            *CPU,
            "--strip",
            "-o",
            tmp_path / "command.png",
            "--overwrite",
        )
        assert outcome.code == 0, outcome.stderr
        save_image(restyle(load_image(source), generator, runtime, **arguments), tmp_path / "python.png")
        assert (tmp_path / "python.png").read_bytes() == (tmp_path / "command.png").read_bytes()
