"""Enlarging in tiles: equal to the whole, within the memory, with transparency, depth and metadata kept."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators import Generator, create_generator
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.generators.reach import convolution_radius, cut_errors
from percept_cli.core.generators.upscale import even_out
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo, floats, quantize, resize_image
from percept_cli.core.images.resize import resample_levels
from percept_cli.core.inference import memory
from percept_cli.core.inference.colors import match_colors
from percept_cli.core.inference.upscale import TileStep, Upscaler, upscale
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.core.runtime import Runtime
from percept_cli.errors import DeviceError, ImageError

pytestmark = pytest.mark.numerical
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
HALF = Runtime(torch.device("cpu"), torch.bfloat16, "")
SMALL = {"channels": 8, "blocks": 2}


class Nearest(Generator):
    """A generator with a known answer."""

    receptive_radius = 0

    def __init__(self, scale: int = 2):
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(images, scale_factor=float(self.scale), mode="nearest")


class Wide(Nearest):
    """Blurs over `radius` pixels before it enlarges, and says that it sees `claimed` of them."""

    def __init__(self, radius: int, claimed: int | None):
        super().__init__()
        self.receptive_radius = claimed
        self.blur = nn.Conv2d(3, 3, 2 * radius + 1, padding=radius, groups=3, bias=False)
        self.blur.weight.data.fill_(1 / (2 * radius + 1) ** 2)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.blur(images))


def random_upscaler(name: str, scale: int, **arguments: int) -> Generator:
    """A network whose last layer does something, as an untrained one's may not."""
    torch.manual_seed(0)
    network = create_generator("upscaler", name, scale=scale, **arguments).eval().requires_grad_(False)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return RUNTIME.place_network(network)


def noise_photo(height: int, width: int, *, alpha: bool = False, bits: int = 8) -> Photo:
    channels = torch.rand((1, 4, height, width), generator=torch.Generator().manual_seed(height))
    return Photo(channels[:, :3], alpha=channels[:, 3:] if alpha else None, exif=b"exif", format="PNG", bits=bits)


def last_step(upscaler: Upscaler, photo: Photo, *size: int, verify: bool = False) -> TileStep:
    return list(upscaler.enlarge(photo, *size, verify=verify))[-1]


def limit_memory(patch: pytest.MonkeyPatch, limit: int) -> None:
    patch.setattr(memory, "free_memory", lambda device: limit)


# Tiles equal the whole


@pytest.mark.parametrize(
    ("name", "scale", "arguments", "height", "width", "tile"),
    [
        ("swift", 2, SMALL, 47, 61, 8), ("swift", 2, SMALL, 40, 1201, 150),
        ("swift", 3, {"channels": 12, "blocks": 1}, 311, 254, 199), ("swift", 4, {"channels": 16, "blocks": 3}, 150, 201, 90),
        ("swift-even", 4, SMALL, 47, 61, 8), ("srresnet", 2, SMALL, 150, 401, 150),
        ("rrdb", 2, {"channels": 8, "blocks": 1, "growth": 4}, 47, 61, 8),
    ],
)  # fmt: skip
def test_tiles_equal_the_whole(
    name: str, scale: int, arguments: dict[str, int], height: int, width: int, tile: int
) -> None:
    """Within 1e-5 in float32, before any rounding to levels, for odd sizes and flat pictures, in tiles small and large.

    Not to the bit: torch may convolve a tile by another algorithm than the whole, with the sums in another order.
    """
    upscaler = Upscaler(random_upscaler(name, scale, **arguments), RUNTIME, tile)
    photo = noise_photo(height, width)
    whole = upscaler.run(photo.pixels)
    tiles = upscaler.plan(photo.height, photo.width, tile)
    assert len(tiles) > 1
    for each in tiles:
        rows, columns = each.source.slices
        part = upscaler.run(photo.pixels[..., rows, columns])
        rows, columns = each.target.within(each.source).scaled(scale).slices
        written = each.target.scaled(scale)
        torch.testing.assert_close(part[..., rows, columns], whole[..., *written.slices], atol=1e-5, rtol=0)


@pytest.mark.parametrize("runtime", [RUNTIME, HALF], ids=["fp32", "bf16"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiled_results_are_the_untiled_ones(runtime: Runtime, alpha: bool, bits: int) -> None:
    """In fp32 the same levels of 8 bits, but for the few values at the edge between two, and within one of 16 bits.

    With transparency and without; a color counts as much as it is opaque. In bf16 within one level of 8 bits.
    """
    photo = noise_photo(201, 260, alpha=alpha, bits=bits)
    network = random_upscaler("swift", 2, **SMALL)
    whole = upscale(photo, network, runtime, tile="off")
    tiled = upscale(photo, network, runtime, tile=120)
    level = 1 / (2**bits - 1)
    apart = (floats(whole.pixels) - floats(tiled.pixels)).abs()
    assert (whole.alpha is None) == (tiled.alpha is None) == (not alpha)
    if whole.alpha is not None and tiled.alpha is not None:
        apart = apart * floats(whole.alpha)
        assert (floats(whole.alpha) - floats(tiled.alpha)).abs().max() <= 1.01 * level
    assert apart.max() <= 1.01 * (level if runtime is RUNTIME else 1 / 255)
    if runtime is RUNTIME and bits == 8:
        assert (apart > 0).float().mean() < 1e-3


def test_the_network_never_sees_more_than_a_tile_and_its_halo() -> None:
    """The picture is not on the device as a whole."""
    seen = []
    network = random_upscaler("swift", 2, **SMALL)
    network.register_forward_pre_hook(lambda _, inputs: seen.append(max(inputs[0].shape[-2:])))
    upscaler = Upscaler(network, RUNTIME, 200)
    last_step(upscaler, noise_photo(500, 600))
    assert len(seen) == 9 and max(seen) <= 200 + 2 * upscaler.halo


# The check that they do


@pytest.mark.parametrize("whole", [True, False])
def test_verification_passes_what_is_right(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the untiled picture where that fits, else against other tiles across the seams: one level of 16 bits."""
    limit_memory(monkeypatch, 1 << (40 if whole else 24))
    upscaler = Upscaler(random_upscaler("swift", 2, **SMALL), RUNTIME, 140)
    found = last_step(upscaler, noise_photo(450, 600, bits=16), verify=True).verification
    assert found is not None and found.passed
    assert found.difference <= 1.01 * 255 / 65535
    assert (found.whole, found.places) == (whole, 1 if whole else 8)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("size", [(), (500, 700)])
def test_verification_catches_an_understated_radius(
    whole: bool, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that sees 6 pixels and says 1, written as it is and resampled."""
    limit_memory(monkeypatch, 1 << (40 if whole else 24))
    wrong, right = (last_step(Upscaler(Wide(6, claimed), RUNTIME, 140), noise_photo(300, 420), *size, verify=True)
                    for claimed in (1, 6))  # fmt: skip
    assert right.verification is not None and right.verification.passed
    assert wrong.verification is not None and not wrong.verification.passed
    assert wrong.verification.difference > 3


def test_one_tile_has_nothing_to_verify() -> None:
    """It is the whole."""
    assert last_step(Upscaler(Nearest(), RUNTIME), noise_photo(20, 20), verify=True).verification is None


# How far a generator sees


@pytest.mark.parametrize("radius", [0, 3, 10])
def test_a_cut_tells_how_far_a_network_sees(radius: int) -> None:
    """What lies farther from it does not change, and the convolutions alone give the same figure."""
    network = Wide(radius, None).requires_grad_(False)
    errors = cut_errors(network)
    assert (errors[:radius] > 0).all() and (errors[radius:] < 1e-6).all()
    assert convolution_radius(network, network, 32) == radius


def test_an_unknown_radius_is_measured_and_said_once() -> None:
    """The halo is what leaves less than half a gray level, and a quarter; a picture of one tile needs none."""
    upscaler = Upscaler(Wide(20, None).requires_grad_(False), RUNTIME, 100)
    assert not upscaler.is_exact
    assert 20 <= upscaler.halo <= 25
    notes = [step.note for step in upscaler.enlarge(noise_photo(300, 300))]
    assert "not to the bit" in notes[0] and not any(notes[1:])
    assert [step.note for step in upscaler.enlarge(noise_photo(50, 50))] == ["", "", ""]


@pytest.mark.parametrize("name", ["swift", "swift-even", "srcnn", "srresnet", "enhancenet", "rrdb", "johnson-upscale"])
@pytest.mark.parametrize("scale", [2, 4])
def test_generators_do_not_understate_their_radius(name: str, scale: int) -> None:
    """No cut changes what lies beyond it."""
    sizes = {"srcnn": {}, "rrdb": {"channels": 8, "blocks": 1, "growth": 4}}
    network = random_upscaler(name, scale, **sizes.get(name, SMALL))
    assert network.receptive_radius is not None
    assert cut_errors(network)[network.receptive_radius :].max() < 1e-5


# Memory


@pytest.mark.parametrize("memory", [1 << 22, 1 << 26, 1 << 40])
def test_auto_tiles_go_by_the_memory_at_hand(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little of it gives many tiles, plenty one; what a tile takes is within what there is."""
    limit_memory(monkeypatch, memory)
    upscaler = Upscaler(random_upscaler("swift", 2, channels=64, blocks=1), HALF)
    step = next(iter(upscaler.enlarge(noise_photo(250, 250))))
    assert (step.total == 1) == (memory > 1 << 30)
    side = upscaler._tile_side(250, 250) + 2 * upscaler.halo
    assert memory < 1 << 23 or side**2 * upscaler.bytes_per_pixel <= memory


class Hungry(Nearest):
    """Fails as an allocator does for more than `limit` pixels a side."""

    def __init__(self, limit: int, error: Callable[[], Exception]):
        super().__init__()
        self.limit, self.error, self.failures = limit, error, 0

    def forward(self, images: Tensor) -> Tensor:
        if max(images.shape[-2:]) > self.limit:
            self.failures += 1
            raise self.error()
        return super().forward(images)


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory."),
        lambda: RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        MemoryError,
    ],
)
def test_memory_that_is_not_enough_makes_smaller_tiles(error: Callable[[], Exception]) -> None:
    """They are halved until they fit, each time with a note; the next picture starts with what fitted."""
    network = Hungry(200, error)
    upscaler = Upscaler(network, RUNTIME, 600)
    upscaler.__dict__["bytes_per_pixel"] = 1
    photo = noise_photo(600, 400)
    steps = list(upscaler.enlarge(photo))
    assert [step.note for step in steps if step.note] == [
        "not enough memory: going on with tiles of 300 pixels", "not enough memory: going on with tiles of 150 pixels",
    ]  # fmt: skip
    result = steps[-1].photo
    assert result is not None and torch.equal(result.pixels, upscale(photo, Nearest(), RUNTIME).pixels)
    assert not any(step.note for step in upscaler.enlarge(photo))
    assert network.failures == 2


def test_memory_that_is_never_enough_is_an_error() -> None:
    """For the smallest tiles, and at once for a picture that was to stay whole; another fault stays what it is."""
    photo = noise_photo(300, 300)
    with pytest.raises(DeviceError, match=r"even in tiles of \d+ pixels"):
        upscale(photo, Hungry(1, MemoryError), RUNTIME, tile=128)
    with pytest.raises(DeviceError, match="as a whole"):
        upscale(photo, Hungry(1, MemoryError), RUNTIME, tile="off")
    with pytest.raises(RuntimeError, match="shapes"):
        upscale(photo, Hungry(1, lambda: RuntimeError("shapes do not match")), RUNTIME, tile=128)


# Pixels


def test_the_result_is_the_generators() -> None:
    """The nearest pixels, of a picture of 1 pixel too."""
    for height, width in ((1, 1), (5, 300)):
        photo = noise_photo(height, width)
        expected = photo.pixels.repeat_interleave(3, 2).repeat_interleave(3, 3).mul(255).round()
        assert torch.equal(upscale(photo, Nearest(3), RUNTIME, tile=64).pixels.float(), expected)


def test_a_picture_smaller_than_the_generator_takes_is_padded() -> None:
    """And the padding cut off again."""

    class Coarse(Nearest):
        smallest = 16

        def forward(self, images: Tensor) -> Tensor:
            assert min(images.shape[-2:]) >= 16
            return super().forward(images)

    photo = noise_photo(5, 40)
    for tile in ("off", 8):
        assert torch.equal(
            upscale(photo, Coarse(), HALF, tile=tile).pixels, upscale(photo, Nearest(), RUNTIME).pixels
        )  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
def test_depth_and_metadata_are_the_photographs(bits: int) -> None:
    """Levels of 8 or 16 bits; EXIF, profile, XMP and format as they were."""
    photo = dataclasses.replace(noise_photo(9, 8, bits=bits), icc=b"icc", xmp=b"xmp")
    result = upscale(photo, Nearest(), RUNTIME)
    assert result.pixels.dtype == (torch.uint8 if bits == 8 else torch.uint16)
    assert (result.pixels.float() - photo.pixels.repeat_interleave(2, 2).repeat_interleave(2, 3).mul(2**bits - 1)).abs(
    ).max() <= 0.51  # fmt: skip
    assert dataclasses.replace(result, pixels=photo.pixels) == photo


@pytest.mark.parametrize("size", [(), (31, 31)])
def test_hidden_colors_do_not_bleed(size: tuple[int, ...]) -> None:
    """What lies under full transparency changes no visible pixel, resampled or not; what is opaque stays opaque."""
    alpha = torch.ones(1, 1, 20, 20)
    alpha[..., :10] = 0
    results = []
    for hidden in (0.0, 1.0):
        photo = noise_photo(20, 20, alpha=True)
        pixels = photo.pixels.clone()
        pixels[..., :10] = hidden
        upscaler = Upscaler(random_upscaler("swift", 2, **SMALL), RUNTIME)
        results.append(last_step(upscaler, dataclasses.replace(photo, pixels=pixels, alpha=alpha), *size).photo)
        assert results[-1] is not None
        results.append(match_colors(results[-1], dataclasses.replace(photo, pixels=pixels, alpha=alpha)))
    black, black_matched, white, white_matched = results
    assert torch.equal(black_matched.pixels[..., -14:], white_matched.pixels[..., -14:])
    assert black is not None and white is not None and black.alpha is not None and white.alpha is not None
    assert torch.equal(black.pixels, white.pixels) and torch.equal(black.alpha, white.alpha)
    assert (black.alpha[..., -14:] == 255).all() and (black.alpha[..., :14] == 0).all()


def test_neither_dots_of_the_period_nor_another_color_can_be_drawn() -> None:
    """What stands at the same place of every period goes, and so does what all places share; other marks stay."""
    places = torch.zeros(1, 3 * 16, 20, 20)
    places[:, 5] = 1.0  # the same pixel of each 4x4 of red, too bright
    places[:, 16:32] = 0.3  # all of green
    torch.testing.assert_close(even_out(places), torch.zeros_like(places))
    signs = 1 - 2 * (torch.arange(20) % 2).float()  # too bright and too dark by turns: no grid of dots
    assert (even_out(places * signs) - places * signs)[..., 2:-2].abs().max() < 0.21


def test_a_visible_edge_has_no_dark_halo() -> None:
    """A white disc on transparent black stays white where it can be seen."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    alpha = ((y - 20).hypot(x - 20) < 12).float()[None, None]

    class Bicubic(Generator):
        scale, receptive_radius = 2, BicubicBase.radius

        def forward(self, images: Tensor) -> Tensor:
            return BicubicBase(2)(images)

    result = upscale(Photo(alpha.expand(-1, 3, -1, -1), alpha=alpha), Bicubic(), RUNTIME)
    assert result.alpha is not None
    assert (result.pixels[(result.alpha > 8).expand(-1, 3, -1, -1)] > 250).all()


@pytest.mark.parametrize("factor", [1.5, 1.9])
@pytest.mark.parametrize("alpha", [False, True])
def test_another_size_is_resampled_from_the_networks(factor: float, alpha: bool) -> None:
    """A smooth picture of another size is the bicubic one of that size, within a gray level or two."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 60), indexing="ij")
    pixels = torch.stack([x, y, (x + y) / 2])[None]
    photo = Photo(pixels, alpha=(0.5 + 0.5 * x)[None, None] if alpha else None)
    size = round(40 * factor), round(60 * factor)
    base = random_upscaler("swift", 2, channels=4, blocks=1)
    nn.init.zeros_(base.last.weight), nn.init.zeros_(base.last.bias)  # type: ignore[union-attr, arg-type]
    result = last_step(Upscaler(base, RUNTIME), photo, *size).photo
    assert result is not None and tuple(result.pixels.shape[-2:]) == size
    expected = F.interpolate(pixels, size=size, mode="bicubic", align_corners=False)
    inside = (..., slice(4, -4), slice(4, -4))
    assert (floats(result.pixels) - expected)[inside].abs().max() < 2.5 / 255
    assert (result.alpha is not None) == alpha


@pytest.mark.parametrize("size", [(150, 260), (301, 60), (50, 333), (299, 199), (301, 200)])
def test_resampling_in_strips_is_resampling(size: tuple[int, int]) -> None:
    """The levels of `resize_image` on the whole, larger and smaller, to a rounding."""
    levels = np.random.default_rng(0).integers(0, 65_536, (301, 200, 3), dtype=np.uint16)
    whole = resize_image(floats(torch.from_numpy(levels)).permute(2, 0, 1)[None], *size)
    expected = quantize(whole, np.uint16).astype(int)
    assert np.abs(resample_levels(levels, *size, np.uint16).astype(int) - expected).max() <= 1


def network_of(name: str) -> Generator:
    if name in shipped_models():
        return load_generator(name, "upscaler").network
    network = create_generator("upscaler", "swift", scale=int(name), **SMALL)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "name", ["2", "4", *(name for name, model in shipped_models().items() if model.role == "upscaler")]
)
def test_colors_do_not_shift(name: str) -> None:
    """The mean color stays within half a gray level: of a photograph, of gray ones, of every shipped upscaler."""
    picture = load_image(Path(__file__).parent.parent / "docs" / "photo.jpg").pixels[..., 100:164, 100:164]
    gray = picture.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    for pixels in (picture, gray, torch.full_like(picture, 0.4)):
        result = floats(upscale(Photo(pixels), network_of(name), RUNTIME).pixels)
        shift = (result.mean(dim=(2, 3)) - pixels.mean(dim=(2, 3))).abs().max()
        assert shift <= 0.5 / 255


def test_what_half_precision_makes_infinite_is_computed_again() -> None:
    """The result is that of fp32, and the user is told once."""

    class Loud(Nearest):
        def __init__(self) -> None:
            super().__init__()
            self.louder = nn.Conv2d(3, 3, 1, bias=False)
            self.louder.weight.data = 1e6 * torch.eye(3).view(3, 3, 1, 1)

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(self.louder(images) / 1e6)

    photo = noise_photo(100, 100)
    half = Runtime(torch.device("cpu"), torch.float16, "")
    steps = list(Upscaler(Loud().requires_grad_(False), half, 50).enlarge(photo))
    assert [step.note for step in steps].count("half precision overflowed: such tiles are computed again in fp32") == 1
    result = steps[-1].photo
    assert result is not None and torch.equal(result.pixels, upscale(photo, Nearest(), RUNTIME).pixels)


def test_values_that_are_no_numbers_are_an_error() -> None:
    """Not black or noise."""

    class Broken(Nearest):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * torch.nan

    with pytest.raises(ImageError, match="not finite"):
        upscale(noise_photo(9, 9), Broken(), RUNTIME)


def test_the_canvas_of_a_result_is_its_file(tmp_path: Path) -> None:
    """Levels go into a file as they are."""
    for bits, name in ((8, "a.png"), (16, "b.png"), (16, "c.tiff"), (8, "d.tiff")):
        for alpha in (False, True):
            photo = dataclasses.replace(noise_photo(12, 10, alpha=alpha, bits=bits), exif=None)
            result = upscale(photo, Nearest(), RUNTIME)
            save_image(result, tmp_path / name)
            again = load_image(tmp_path / name)
            assert again.bits == bits
            assert torch.equal(again.pixels.mul(2**bits - 1).round(), result.pixels.float())
            if alpha:
                assert again.alpha is not None and result.alpha is not None
                assert torch.equal(again.alpha.mul(2**bits - 1).round(), result.alpha.float())


def test_deep_levels_go_into_shallow_files(tmp_path: Path) -> None:
    """16 bits become the nearest 8, over white where the format has no transparency, and a note says so."""
    result = upscale(noise_photo(12, 10, alpha=True, bits=16), Nearest(), RUNTIME)
    notes = save_image(result, tmp_path / "flat.bmp")
    assert notes == ("BMP keeps no transparency: the picture was laid over white", "BMP keeps 8 bits a channel")
    assert result.alpha is not None
    expected = floats(result.pixels) * floats(result.alpha) + 1 - floats(result.alpha)
    assert (load_image(tmp_path / "flat.bmp").pixels - expected).abs().max() <= 0.51 / 255
