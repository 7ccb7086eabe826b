"""`percept upscale`: the factor, the network, the names, and what comes out."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn

from percept_cli.core.generators import ARCHITECTURES, create_generator
from percept_cli.core.generators.upscale import SwiftGenerator
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.sixteen_bit import encode_png
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.pretrained import manifest
from percept_cli.core.pretrained.blending import BlendedUpscaler, blend_files, blend_upscalers, load_shipped_upscaler
from percept_cli.core.pretrained.files import load_weights, save_weights, sha256_of
from percept_cli.core.pretrained.generators import LoadedGenerator, load_generator
from percept_cli.core.runtime import choose_runtime
from percept_cli.errors import UsageError
from tests.conftest import pictures_in, reported

FP32 = ("--device", "cpu", "--precision", "fp32", "--threads", 1)


def write_upscaler(path: Path, scale: int, seed: int, look: str = "faithful", **arguments: int) -> Path:
    """An upscaler file of percept's own that adds to the bicubic enlargement what chance wills."""
    torch.manual_seed(seed)
    network: Any = create_generator("upscaler", "swift", scale=scale, **(arguments or {"channels": 8, "blocks": 1}))
    nn.init.normal_(network.last.weight, std=0.02)
    metadata = {
        "percept.format": "1", "role": "upscaler", "architecture": "swift", "arguments": network.arguments,
        "look": look, "recipe": {},
    }  # fmt: skip
    save_weights(path, network.state_dict(), metadata)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shipped upscalers: 2 times in both looks, 4 times in the faithful one; and a style."""
    folder = tmp_path_factory.mktemp("models")
    text = ""
    shipped = [("swift-x2-faithful", 2, "faithful"), ("swift-x2-natural", 2, "natural"),
               ("swift-x4-faithful", 4, "faithful")]  # fmt: skip
    for seed, (name, scale, look) in enumerate(shipped):
        path = write_upscaler(folder / f"{name}.safetensors", scale, seed, look)
        text += (
            f'[{name}]\nfile = "{path.name}"\nrole = "upscaler"\narchitecture = "swift"\nsha256 = "{sha256_of(path)}"\n'
            f'licence = "Apache-2.0"\ntrained_on = "chance"\ncommand = "none"\nscale = {scale}\nlook = "{look}"\n'
        )
    (folder / "manifest.toml").write_text(text)
    return folder


@pytest.fixture
def shipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """percept with those models and no others."""
    monkeypatch.setattr(manifest, "models_folder", lambda: folder)
    manifest.shipped_models.cache_clear()
    yield folder
    manifest.shipped_models.cache_clear()


@pytest.fixture
def here(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder but for one photograph, img.png of 75 x 61."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img.png").write_bytes((photos / "hill.png").read_bytes())
    return tmp_path


def name_of(value: object) -> str:
    """A command line as the name of its test."""
    return " ".join(value) or "nothing" if isinstance(value, list) else ""


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


# The factor and the size


@pytest.mark.parametrize(
    ("options", "name", "size"),
    [
        (["--x4"], "img_x4.png", (300, 244)),
        (["--x2"], "img_x2.png", (150, 122)),
        ([], "img_x4.png", (300, 244)),
        (["--scale", "2"], "img_x2.png", (150, 122)),
        (["--scale", "2.5"], "img_x2.5.png", (188, 152)),
        (["--scale", "1.1"], "img_x1.1.png", (82, 67)),
        (["--width", "200"], "img_w200.png", (200, 163)),
        (["--height", "100"], "img_h100.png", (123, 100)),
        (["-m", "swift-x4-faithful"], "img_x4_swift-x4-faithful.png", (300, 244)),
        (["-m", "swift-x4-faithful", "--x4", "--name", "{stem}-{model}{ext}"], "img-swift-x4-faithful.png", (300, 244)),
        (["-m", "swift-x4-faithful", "--scale", "3"], "img_x3_swift-x4-faithful.png", (225, 183)),
    ],
    ids=name_of,
)
def test_the_size_is_the_one_asked_for(
    options: list[str], name: str, size: tuple[int, int], here: Path, shipped: Path, percept: Callable
) -> None:
    """Beside the photograph, named after what was asked for."""
    outcome = percept("upscale", "img.png", *options)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == f"{name}\n"
    assert size_of(here / name) == size


def test_matched_colors_are_distributed_as_the_photographs_own(here: Path, shipped: Path, percept: Callable) -> None:
    """A network of chance moves the quantiles of each color by many levels; the step puts them back."""
    for options in ([], ["--match-histogram"]):
        assert percept("upscale", "img.png", "--x2", "-o", f"{len(options)}.png", *FP32, *options).code == 0

    def distribution(name: str) -> Any:
        return np.quantile(np.asarray(Image.open(here / name).convert("RGB")), np.linspace(0.05, 0.95, 19), axis=(0, 1))

    wanted, before, after = (distribution(name) for name in ("img.png", "0.png", "1.png"))
    assert np.abs(before - wanted).max() > 4
    assert np.abs(after - wanted).max() <= 1


def test_no_factor_means_4_and_is_said(here: Path, shipped: Path, percept: Callable) -> None:
    """With the network that was taken."""
    outcome = percept("upscale", "img.png")
    assert "no factor was given: --x4" in outcome.stderr
    assert "network: swift-x4-faithful" in outcome.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--x2", "--x4"], "--x2 and --x4 exclude each other"),
        (["--x2", "--width", "300"], "--x2 and --width exclude each other"),
        (["--width", "300", "--height", "300"], "exclude each other"),
        (["--scale", "1"], "give more than 1"),
        (["--scale", "nan"], "give more than 1"),
        (["--scale", "5"], "more than the 4 of the largest network"),
        (["--x4", "--look", "natrual"], "Did you mean 'natural'?"),
        (["--x4", "--look", "natural", "--blend", "0.5"], "leave --look out"),
        (["-m", "swift-x2-natural", "--look", "natural"], "leave one out"),
        (["-m", "swift-x2-natural", "--x4"], "enlarges 2 times, not 4: give --x2"),
        (["-m", "swift-x2-natural", "--scale", "2.5"], "more than the 2 of the largest network"),
        (["--x2", "--tile", "0"], "give auto, off or"),
        (["--x2", "--blend", "1.5"], "--blend"),
    ],
    ids=name_of,
)
def test_a_wrong_command_line_is_2(
    options: list[str], message: str, here: Path, shipped: Path, percept: Callable
) -> None:
    """One sentence, and nothing is written."""
    outcome = percept("upscale", "img.png", *options)
    assert outcome.code == 2, outcome.stderr
    assert message in outcome.stderr
    assert [path.name for path in here.iterdir()] == ["img.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--x8"], "No upscaler for --x8 is shipped. Shipped: swift-x2-faithful"),
        (["--x4", "--look", "natural"], "No upscaler for --x4 --look natural is shipped"),
        (["--x4", "--blend", "0.5"], "No upscaler for --x4 --look natural is shipped"),
        (["-m", "swift-x5"], "Unknown upscaler model 'swift-x5'"),
        (["-m", "missing.pth"], "there is no such weights file"),
    ],
    ids=name_of,
)
def test_a_network_that_is_not_there_is_5(
    options: list[str], message: str, here: Path, shipped: Path, percept: Callable
) -> None:
    """The message names what there is."""
    outcome = percept("upscale", "img.png", *options)
    assert outcome.code == 5, outcome.stderr
    assert message in outcome.stderr


def test_with_nothing_shipped_there_is_still_m(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, percept: Callable
) -> None:
    """A sentence for every way of asking, and a file works."""
    monkeypatch.setattr(manifest, "shipped_models", dict)
    for options in ((), ("--x2",), ("--scale", 3), ("--width", 500)):
        outcome = percept("upscale", "img.png", *options)
        assert outcome.code == 5 and "-m FILE" in outcome.stderr
    assert percept("upscale", "img.png", "-m", folder / "swift-x2-natural.safetensors").code == 0
    assert size_of(here / "img_x2_swift-x2-natural.png") == (150, 122)


def test_a_style_is_no_upscaler(here: Path, style_model: Path, percept: Callable) -> None:
    """Its role says so."""
    outcome = percept("upscale", "img.png", "-m", style_model)
    assert outcome.code == 5 and "role 'style'" in outcome.stderr


def test_enlarging_from_python_gives_what_the_command_gives(here: Path, shipped: Path, percept: Callable) -> None:
    """In a few lines, with the options of the command under its names."""
    runtime = choose_runtime("cpu", "fp32", 1)
    generator = runtime.place_network(load_shipped_upscaler(2, "faithful").network)
    cases: list[tuple[list[object], dict[str, Any]]] = [
        ([], {}), (["--scale", 1.5, "--tile", 40], {"scale": 1.5, "tile": 40}),
        (["--width", 140, "--match-histogram"], {"width": 140, "match_histogram": True}),
    ]  # fmt: skip
    for options, arguments in cases:
        command = (
            "upscale",
            "img.png",
            "-m",
            "swift-x2-faithful",
            *options,
            *FP32,
            "--strip",
            "-o",
            "command.png",
            "--overwrite",
        )
        assert percept(*command).code == 0
        save_image(upscale(load_image(here / "img.png"), generator, runtime, **arguments), here / "python.png")
        assert (here / "python.png").read_bytes() == (here / "command.png").read_bytes()
    with pytest.raises(UsageError, match="more than the 2 of the largest network"):
        upscale(load_image(here / "img.png"), generator, runtime, scale=3)


# Looks


def test_looks_and_what_lies_between(here: Path, shipped: Path, percept: Callable) -> None:
    """Natural where it is shipped; --blend goes from one to the other, its ends being the looks themselves."""
    results = {}
    for options in ("", "--look natural", "--look faithful", "--blend 0", "--blend 1", "--blend 0.5"):
        outcome = percept("upscale", "img.png", "--x2", *options.split(), "-o", "out.png", "--overwrite", *FP32)
        assert outcome.code == 0, outcome.stderr
        results[options] = load_image(here / "out.png").pixels
    assert torch.equal(results[""], results["--look natural"])
    assert torch.equal(results["--blend 1"], results["--look natural"])
    assert torch.equal(results["--blend 0"], results["--look faithful"])
    to_natural, to_faithful, apart = (
        (results[first] - results[second]).abs().mean().item()
        for first, second in (
            ("--blend 0.5", "--look natural"), ("--blend 0.5", "--look faithful"), ("--look natural", "--look faithful"),
        )
    )  # fmt: skip
    assert 0 < to_natural < apart and 0 < to_faithful < apart


def test_blends_take_weights_where_they_can(tmp_path: Path) -> None:
    """Of one architecture and size the weights, else the pictures; the result is between in either case."""
    first, second = (
        load_generator(str(write_upscaler(tmp_path / f"{seed}.safetensors", 2, seed)), "upscaler") for seed in (0, 1)
    )
    wide = load_generator(str(write_upscaler(tmp_path / "w.safetensors", 2, 2, channels=16, blocks=2)), "upscaler")
    blended = blend_upscalers(first, second, 0.25)
    key = "last.weight"
    torch.testing.assert_close(
        blended.network.state_dict()[key],
        0.75 * first.network.state_dict()[key] + 0.25 * second.network.state_dict()[key],
    )
    mixed = blend_upscalers(first, wide, 0.25)
    assert isinstance(mixed.network, BlendedUpscaler) and mixed.note
    assert mixed.network.receptive_radius == wide.network.receptive_radius
    pixels = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(mixed.network(pixels), 0.75 * first.network(pixels) + 0.25 * wide.network(pixels))


def test_between_the_two_looks_is_one_network() -> None:
    """`--blend` takes the time of one: the weights of the shipped looks correspond, for photographs too."""
    for share in (0.0, 0.5, 1.0):
        blended = load_shipped_upscaler(4, blend=0.25, photo_share=share)
        ends = [
            load_shipped_upscaler(4, look, photo_share=share).network.state_dict() for look in ("faithful", "natural")
        ]
        assert blended.architecture == "swift-even" and not blended.note
        expected = 0.75 * ends[0]["last.weight"] + 0.25 * ends[1]["last.weight"]
        torch.testing.assert_close(blended.network.state_dict()["last.weight"], expected)


def test_networks_of_two_scales_do_not_blend(tmp_path: Path) -> None:
    """There is nothing between them."""
    networks: list[LoadedGenerator] = [
        load_generator(str(write_upscaler(tmp_path / f"{scale}.safetensors", scale, 0)), "upscaler") for scale in (2, 4)
    ]
    with pytest.raises(Exception, match="cannot be blended"):
        blend_upscalers(*networks, 0.5)


# Many inputs


def test_one_bad_file_does_not_stop_the_rest(here: Path, shipped: Path, percept: Callable) -> None:
    """Exit 3; one that is as large already as --width asks for is such a one, too."""
    (here / "broken.png").write_bytes(b"not an image")
    Image.new("RGB", (300, 20)).save(here / "wide.png")
    outcome = percept("upscale", "broken.png", "wide.png", "img.png", "--width", 150, "-o", "out/", "--json")
    assert outcome.code == 3
    lines = reported(outcome.stdout)
    assert [line["status"] for line in lines] == ["failed", "failed", "done"]
    assert "300 pixels wide already" in lines[1]["error"]
    assert (lines[2]["width"], lines[2]["height"], lines[2]["scale"]) == (150, 122, 2)
    assert [path.name for path in pictures_in(here / "out")] == ["img_w150.png"]


def test_a_tree_is_kept(here: Path, photos: Path, shipped: Path, percept: Callable) -> None:
    """Every photograph twice as large, in the folders it was in."""
    outcome = percept("upscale", photos, "-r", "--x2", "-o", "out/", "--name", "{stem}.png")
    assert outcome.code == 0, outcome.stderr
    for path in photos.rglob("*.*"):
        result = (here / "out" / path.relative_to(photos)).with_suffix(".png")
        assert size_of(result) == tuple(2 * side for side in size_of(path))


@pytest.mark.slow
def test_a_pipe_takes_and_gives_an_image(here: Path, folder: Path, start_percept: Callable) -> None:
    """`percept upscale - -m FILE -o -`: a PNG in, one twice as large out."""
    model = folder / "swift-x2-natural.safetensors"
    with start_percept("upscale", "-", "-m", model, "-o", "-") as process:
        stdout, stderr = process.communicate((here / "img.png").read_bytes(), timeout=120)
    assert process.returncode == 0, stderr
    with Image.open(io.BytesIO(stdout)) as image:
        assert (image.format, image.size) == ("PNG", (150, 122))


def test_different_pictures_take_different_networks(here: Path, shipped: Path, percept: Callable) -> None:
    """To one width: 2 times is enough for one, 4 times is needed for the other."""
    Image.new("RGB", (50, 40), "teal").save(here / "small.png")
    outcome = percept("upscale", "img.png", "small.png", "--width", 140, "-o", "out/", "--json")
    assert [line["scale"] for line in reported(outcome.stdout)] == [2, 4]


def test_a_format_too_small_for_the_result_fails_before_the_work(here: Path, shipped: Path, percept: Callable) -> None:
    """WebP holds 16,383 pixels a side."""
    Image.new("RGB", (5000, 1)).save(here / "long.png")
    outcome = percept("upscale", "long.png", "--x4", "-o", "long.webp")
    assert outcome.code == 4 and "at most 16383 pixels a side" in outcome.stderr
    assert "network:" not in outcome.stderr


# What must survive


def test_transparency_profile_and_exif_survive(here: Path, shipped: Path, percept: Callable) -> None:
    """In the file that is written."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a hill"
    exif[0x0112] = 6  # turned by 90 degrees
    with Image.open(here / "img.png") as image:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(here / "rich.png", icc_profile=profile, exif=exif)
    outcome = percept("upscale", "rich.png", "--x2")
    assert outcome.code == 0, outcome.stderr
    with Image.open(here / "rich_x2.png") as result:
        assert (result.mode, result.size) == ("RGBA", (122, 150))
        assert result.info["icc_profile"] == profile
        assert result.getexif()[0x010E] == "a hill" and 0x0112 not in result.getexif()
        lowest, highest = result.getchannel("A").getextrema()
        assert lowest < 5 and highest > 250


def test_16_bits_survive(here: Path, shipped: Path, percept: Callable) -> None:
    """More than 256 levels come out of a 16-bit ramp, close to the ramp."""
    ramp = np.linspace(20_000, 22_000, 40 * 30).reshape(30, 40, 1).repeat(3, 2).astype(np.uint16)
    (here / "deep.png").write_bytes(encode_png(ramp))
    for options in (("--x2",), ("--scale", 3)):
        assert percept("upscale", "deep.png", *options, "-o", "out.png", "--overwrite").code == 0
        result = load_image(here / "out.png")
        assert result.bits == 16
        assert len(result.pixels.unique()) > 256


# Tiles


@pytest.mark.numerical
def test_tiles_change_nothing_and_the_check_says_so(here: Path, photos: Path, shipped: Path, percept: Callable) -> None:
    """The same levels with tiles and without, but for few at the edge between two; the check reports the difference.

    --verify-tiles says it in a sentence and, with --json, as a figure.
    """
    with Image.open(photos / "nested" / "road.png") as image:
        image.resize((310, 290), Image.Resampling.BICUBIC).save(here / "large.png")
    command = ("upscale", "large.png", "--x2", "--overwrite", *FP32)
    assert percept(*command, "--tile", "off", "-o", "whole.png").code == 0
    outcome = percept(*command, "--tile", 150, "--verify-tiles", "-o", "tiled.png", "--json")
    assert outcome.code == 0, outcome.stderr
    whole, tiled = (np.asarray(Image.open(here / name)).astype(int) for name in ("whole.png", "tiled.png"))
    difference = json.loads(outcome.stdout)["tile_difference"]
    assert np.abs(whole - tiled).max() == difference <= 1 and (whole != tiled).mean() < 1e-3
    assert f"{difference:.2g} gray levels at most, compared everywhere" in outcome.stderr
    assert "no tiles to verify" in percept("upscale", "img.png", "--x2", "--verify-tiles").stderr


def test_a_check_that_fails_is_1_and_writes_nothing(
    here: Path, photos: Path, shipped: Path, percept: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that claims to see less than it does."""

    class Understated(SwiftGenerator):
        def __init__(self, **arguments: int):
            super().__init__(**arguments)
            self.receptive_radius = 0

    monkeypatch.setitem(ARCHITECTURES["upscaler"], "swift", Understated)
    with Image.open(photos / "nested" / "road.png") as image:
        image.resize((310, 290), Image.Resampling.BICUBIC).save(here / "large.png")
    outcome = percept("upscale", "large.png", "--x2", "--tile", 150, "--verify-tiles", *FP32)
    assert outcome.code == 1
    assert "the tiles differ from the whole by" in outcome.stderr and "internal error" not in outcome.stderr
    assert not (here / "large_x2.png").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc")
def test_24_megapixels_take_at_most_1500_megabytes(here: Path, photos: Path, start_percept: Callable) -> None:
    """A process of its own, twice a picture of 3000 x 2000, by the network as shipped."""
    with Image.open(photos / "hill.png") as image:
        image.resize((3000, 2000), Image.Resampling.BICUBIC).save(here / "large.jpg")
    write_upscaler(here / "swift.safetensors", 2, 0, channels=64, blocks=8)
    # Not getrusage, whose maximum is also that of the process which began this one.
    program = (
        "import re, sys\nfrom percept_cli.app import run\ncode = run(sys.argv[1:])\n"
        "print(int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) // 1000)\nsys.exit(code)"
    )
    command = ("upscale", "large.jpg", "-m", "swift.safetensors", "-o", "larger.png", "-q")
    with start_percept(*command, program=("-c", program)) as process:
        stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert size_of(here / "larger.png") == (6000, 4000)
    assert int(stdout) <= 1500


# Models between two


def test_a_blended_model_lies_between_the_two_that_it_was_made_of(here: Path, shipped: Path, percept: Callable) -> None:
    """Weight by weight, with both recipes in the file; it enlarges, and its look is not the faithful one any more."""
    names = ("swift-x2-faithful", "swift-x2-natural")
    outcome = percept("models", "blend", *names, "-o", "between.safetensors", "--share", 0.25)
    assert outcome.code == 0, outcome.stderr
    faithful, natural, between = (
        load_generator(name, "upscaler").network.state_dict() for name in (*names, "between.safetensors")
    )
    for name, weights in between.items():
        torch.testing.assert_close(weights, 0.75 * faithful[name] + 0.25 * natural[name])
    metadata = load_generator("between.safetensors", "upscaler").metadata
    assert metadata["look"] == "natural"
    assert set(json.loads(metadata["recipe"])["blend"]) == set(names)
    assert percept("upscale", "img.png", "-m", "between.safetensors").code == 0


def test_a_look_between_the_two_is_an_even_one(tmp_path: Path) -> None:
    """`swift-even` has the weights of `swift`: between a faithful and a natural file lies a natural one."""
    files = []
    for name, look in (("swift", "faithful"), ("swift-even", "natural")):
        network = create_generator("upscaler", name, scale=2, channels=4, blocks=1)
        torch.nn.init.normal_(network.last.weight)
        metadata = {"percept.format": "1", "role": "upscaler", "architecture": name, "look": look}
        files.append(tmp_path / f"{name}.safetensors")
        save_weights(files[-1], network.state_dict(), {**metadata, "arguments": network.arguments})
    weights, metadata = blend_files(*files, 0.25)
    assert (metadata["architecture"], metadata["look"]) == ("swift-even", "natural")
    ends = [load_weights(path)["last.weight"] for path in files]
    torch.testing.assert_close(weights["last.weight"], 0.75 * ends[0] + 0.25 * ends[1])


def test_models_of_two_kinds_are_not_blended(here: Path, shipped: Path, percept: Callable) -> None:
    outcome = percept("models", "blend", "swift-x2-faithful", "swift-x4-faithful", "-o", "between.safetensors")
    assert outcome.code == 2
    assert "differ in arguments" in outcome.stderr
    assert not (here / "between.safetensors").exists()
