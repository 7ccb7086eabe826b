"""The self-ensemble (`percept upscale --ensemble`): the mean over turned and mirrored passes, in tiles as in the whole."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.generators.ensemble import EnsembleGenerator, ensemble
from percept_cli.core.images.decode import load_image
from percept_cli.core.inference.upscale import Upscaler, upscale
from percept_cli.core.pretrained.blending import BlendedUpscaler
from percept_cli.core.runtime import choose_runtime
from tests.test_upscale import HALF, RUNTIME, SMALL, Nearest, noise_photo, random_upscaler
from tests.test_upscale_command import FP32, write_upscaler

pytestmark = pytest.mark.numerical


@torch.no_grad()
def test_it_is_the_mean_of_eight_passes() -> None:
    """Written out with numpy's rot90 and flip, for a picture that is not square."""
    network = random_upscaler("swift", 3, **SMALL)
    image = noise_photo(13, 22).pixels

    def enlarge(pixels: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()

    pixels = image[0].permute(1, 2, 0).numpy()
    results = []
    for turns in range(4):
        turned = np.rot90(pixels, turns)
        results.append(np.rot90(enlarge(turned), -turns))
        results.append(np.rot90(np.flip(enlarge(np.flip(turned, axis=0)), axis=0), -turns))
    mean = torch.from_numpy(np.mean(results, axis=0)).permute(2, 0, 1)[None]
    torch.testing.assert_close(ensemble(network, image), mean, atol=1e-5, rtol=0)
    assert (mean - network(image)).abs().max() > 0.01


@torch.no_grad()
def test_a_network_that_turns_with_the_picture_is_not_changed() -> None:
    """Repetition of pixels and bicubic enlargement know no direction."""
    images = noise_photo(9, 14).pixels.expand(2, -1, -1, -1)
    for network in (Nearest(2), BicubicBase(3)):
        torch.testing.assert_close(ensemble(network, images), network(images), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_mean_turns_with_the_picture() -> None:
    network, image = random_upscaler("swift", 2, **SMALL), noise_photo(8, 11).pixels
    turned = ensemble(network, image.rot90(1, (2, 3)))
    torch.testing.assert_close(turned, ensemble(network, image).rot90(1, (2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "tile"), [("swift", 16), ("swift-even", 23), ("rrdb", 9)])
def test_tiles_equal_the_whole(name: str, tile: int) -> None:
    """Each tile's passes are turned, with the halo of a single one."""
    arguments = SMALL if name != "rrdb" else {"channels": 8, "blocks": 1, "growth": 4}
    network = random_upscaler(name, 2, **arguments)
    generator = EnsembleGenerator(network)
    upscaler, photo = Upscaler(generator, RUNTIME, tile), noise_photo(33, 58)
    assert upscaler.halo == Upscaler(network, RUNTIME, tile).halo
    whole, tiles = upscaler.run(photo.pixels), upscaler.plan(photo.height, photo.width, tile)
    assert len(tiles) > 4 and any(each.source.height != each.source.width for each in tiles)
    for each in tiles:
        part = upscaler.run(photo.pixels[(..., *each.source.slices)])
        kept = each.target.within(each.source).scaled(2)
        expected = whole[(..., *each.target.scaled(2).slices)]
        torch.testing.assert_close(part[(..., *kept.slices)], expected, atol=1e-5, rtol=0)


def test_blends_transparency_and_half_precision_work_with_it() -> None:
    """In bf16 the passes are summed in float32: the mean stays within a level of the one in float32."""
    first, second = random_upscaler("swift", 2, **SMALL), random_upscaler("swift-even", 2, **SMALL)
    generator = EnsembleGenerator(BlendedUpscaler(first, second, 0.5))
    photo = noise_photo(30, 41, alpha=True)
    results = [upscale(photo, generator, runtime, tile=tile) for runtime in (RUNTIME, HALF) for tile in ("off", 20)]
    assert results[0].alpha is not None and results[0].alpha.shape == (1, 1, 60, 82)
    for result in results[1:]:
        visible = results[0].alpha > 127
        apart = (result.pixels.float() - results[0].pixels.float()).abs() * visible
        assert apart.max() <= 3


def test_a_network_of_windows_has_no_exact_tiles() -> None:
    """Turned, a picture that is no multiple of the windows begins at another place of them."""

    class Windows(Nearest):
        size_multiple = 8

    assert EnsembleGenerator(Nearest()).tiles_exactly
    assert not EnsembleGenerator(Windows()).tiles_exactly
    assert EnsembleGenerator(Windows()).size_multiple == 8


def test_the_results_of_earlier_passes_are_freed() -> None:
    """When a pass begins, no result of another is in memory but their sum."""

    class Watched(Nearest):
        def __init__(self) -> None:
            super().__init__()
            self.results: list[weakref.ref] = []
            self.alive: list[int] = []

        def forward(self, images: Tensor) -> Tensor:
            self.alive.append(sum(each() is not None for each in self.results))
            result = super().forward(images)
            self.results.append(weakref.ref(result))
            return result

    network = Watched()
    with torch.inference_mode():
        ensemble(network, torch.rand(1, 3, 4, 6))
    assert network.alive == [0] * 8


def test_the_command_takes_it_with_every_choice_of_a_network(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percept: Callable
) -> None:
    """With -m, tiles and another factor, what Python makes; the name of the result tells it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img.png").write_bytes((photos / "hill.png").read_bytes())
    path = write_upscaler(tmp_path / "mine.safetensors", 2, seed=1)
    outcome = percept("upscale", "img.png", "-m", path, "--ensemble", "--tile", 40, *FP32)
    assert outcome.code == 0, outcome.stderr
    made = load_image(tmp_path / "img_x2_mine_ensemble.png")
    from percept_cli.core.pretrained.generators import load_generator

    runtime = choose_runtime("cpu", "fp32", 1)
    generator: Any = EnsembleGenerator(runtime.place_network(load_generator(str(path), "upscaler").network))
    assert isinstance(generator, Generator)
    expected = upscale(load_image(tmp_path / "img.png"), generator, runtime, tile="off")
    assert (255 * made.pixels - expected.pixels.float()).abs().max() <= 1.01
    assert percept("upscale", "img.png", "-m", path, "--scale", 1.5, "--ensemble", *FP32, "-o", "small.png").code == 0
