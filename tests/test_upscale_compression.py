"""`percept upscale` takes the network that fits what each picture lost: its file decides, or `--compression`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import nn

from percept_cli.commands import upscale_work
from percept_cli.core.generators import create_generator
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.inference.compression import find_compression
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.pretrained import blending, manifest
from percept_cli.core.pretrained.blending import BlendedUpscaler, load_shipped_upscaler, photo_share
from percept_cli.core.pretrained.files import save_weights, sha256_of
from percept_cli.core.runtime import choose_runtime
from tests.conftest import reported

FP32 = ("--device", "cpu", "--precision", "fp32", "--threads", 1)
# Levels that the networks add to the bicubic enlargement: scale, look, input. 3 times there is no network for photographs.
ADDED = {
    (2, "faithful", "clean"): 0, (2, "faithful", "photo"): 40, (2, "natural", "clean"): 20, (2, "natural", "photo"): 100,
    (3, "faithful", "clean"): 12, (4, "faithful", "clean"): 0, (4, "faithful", "photo"): 16,
}  # fmt: skip
GRAY = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upscalers that add a number of levels to the bicubic enlargement."""
    folder = tmp_path_factory.mktemp("models")
    text = ""
    for (scale, look, input), levels in ADDED.items():
        name = f"swift-x{scale}-{look}{'-photo' if input == 'photo' else ''}"
        network: Any = create_generator("upscaler", "swift", scale=scale, channels=8, blocks=1)
        nn.init.zeros_(network.last.weight)
        nn.init.constant_(network.last.bias, levels / 255)
        metadata = {
            "percept.format": "1", "role": "upscaler", "architecture": "swift", "arguments": network.arguments,
            "look": look, "recipe": {},
        }  # fmt: skip
        path = folder / f"{name}.safetensors"
        save_weights(path, network.state_dict(), metadata)
        text += (
            f'[{name}]\nfile = "{path.name}"\nrole = "upscaler"\narchitecture = "swift"\nsha256 = "{sha256_of(path)}"\n'
            f'licence = "Apache-2.0"\ntrained_on = "nothing"\ncommand = "none"\nscale = {scale}\nlook = "{look}"\n'
        )
        # An entry of a clean network does not name its input.
        text += f'input = "{input}"\n' if input != "clean" else ""
    (folder / "manifest.toml").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """percept with those models and no others, and an empty current folder."""
    monkeypatch.setattr(manifest, "models_folder", lambda: folder)
    manifest.shipped_models.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    manifest.shipped_models.cache_clear()


def write_gray(name: str, **options: Any) -> None:
    Image.new("RGB", (40, 32), (GRAY,) * 3).save(name, **options)


def added(name: str) -> float:
    """Levels that a result of a gray picture has more than it."""
    levels = np.asarray(Image.open(name).convert("RGB"), np.float64)
    assert levels.std() == 0
    return float(levels.mean()) - GRAY


def photograph() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).crop((100, 0, 300, 160))


def test_each_picture_of_a_batch_gets_its_own_share(here: Path, percept: Callable) -> None:
    """The share of the network for photographs is that of its levels in the result; it is said, and stands in --json."""
    cases = {
        "q75.jpg": (75, 1.0),
        "q90.jpg": (90, 0.5),
        "q97.jpg": (97, 0.25),
        "q100.jpg": (100, 0.0),
        "clean.png": (None, 0.0),
    }
    for name, (quality, _) in cases.items():
        write_gray(name, **({} if quality is None else {"quality": quality}))
    outcome = percept(
        "upscale", *cases, "--x2", "--look", "faithful", "-o", "out/", "--name", "{name}.png", "--json", *FP32
    )
    assert outcome.code == 0, outcome.stderr
    lines = reported(outcome.stdout)
    assert [(line["compression"], line["photo_share"]) for line in lines] == list(cases.values())
    for name, (_, share) in cases.items():
        assert added(f"out/{name}.png") == 40 * share, name
    for message in (
        "q75.jpg: JPEG of quality 75: network for photographs",
        "q90.jpg: JPEG of quality 90: 50 % of the network for photographs",
        "q100.jpg: JPEG of quality 100: network for clean pictures",
    ):
        assert f"{message}\n" in outcome.stderr
    assert "clean.png:" not in outcome.stderr


def test_a_network_is_loaded_once_for_each_share(
    here: Path, percept: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pictures there are: at most five for a factor."""
    shares = []

    def load(*arguments: Any, **options: Any) -> Any:
        shares.append(options["photo_share"])
        return load_shipped_upscaler(*arguments, **options)

    monkeypatch.setattr(upscale_work, "load_shipped_upscaler", load)
    for quality in range(80, 101):
        write_gray(f"{quality}.jpg", quality=quality)
    assert percept("upscale", here, "--x2", "-o", "out/").code == 0
    assert sorted(shares) == [0, 0.25, 0.5, 0.75, 1]


def test_a_webp_and_a_cut_of_a_jpeg_are_known_too(here: Path, percept: Callable) -> None:
    """The first by its header, the second by its pixels; a photograph that lost nothing shows nothing."""
    photo = photograph()
    photo.save("photo.webp", quality=60)
    photo.save("photo.jpg", quality=60)
    Image.open("photo.jpg").crop((3, 5, 200, 160)).save("scan.png")
    photo.save("clean.png")
    names = ("photo.webp", "scan.png", "clean.png")
    outcome = percept("upscale", *names, "--x2", "-o", "out/", "--json", *FP32)
    assert outcome.code == 0, outcome.stderr
    webp, scan, clean = reported(outcome.stdout)
    assert f"photo.webp: WebP like a JPEG of quality {webp['compression']}: network for photographs" in outcome.stderr
    assert "scan.png: blocks of a JPEG of about quality 60 found: network for photographs" in outcome.stderr
    assert (scan["compression"], scan["photo_share"]) == (60, 1)
    assert (clean["compression"], clean["photo_share"]) == (None, 0)


def test_a_clean_picture_is_enlarged_as_without_the_choice(here: Path, percept: Callable) -> None:
    """To the bit, and with the same messages; a JPEG with `none` is too."""
    photograph().save("clean.png")
    photograph().save("photo.jpg", quality=60)
    results = {}
    for name in ("clean.png", "photo.jpg"):
        for value in ("auto", "none"):
            outcome = percept(
                "upscale", name, "--x2", "--compression", value, "--strip", "-o", "out.png", "--overwrite", *FP32
            )
            assert outcome.code == 0, outcome.stderr
            results[name, value] = Path("out.png").read_bytes()
            assert ("network for photographs" in outcome.stderr) == ((name, value) == ("photo.jpg", "auto"))
    assert results["clean.png", "auto"] == results["clean.png", "none"]
    assert results["photo.jpg", "auto"] != results["photo.jpg", "none"]


def test_a_given_quality_overrules_the_file_and_stands_in_the_name(here: Path, percept: Callable) -> None:
    """`none` and a number; the default does not stand there."""
    write_gray("a.jpg", quality=75)
    for value, name, levels in (
        ("none", "a_x2_compression-none.jpg", 20),
        ("90", "a_x2_compression-90.jpg", 60),
        ("auto", "a_x2.jpg", 100),
    ):
        outcome = percept("upscale", "a.jpg", "--x2", "--compression", value, "--quality", 100, *FP32)
        assert outcome.stdout == f"{name}\n", outcome.stderr
        assert added(name) == pytest.approx(levels, abs=1)
        assert ("taken as a JPEG of quality 90: 50 % of" in outcome.stderr) == (value == "90")


def test_looks_and_shares_are_blended_together(here: Path, percept: Callable) -> None:
    """--blend 0.25 at a share of 0.5: between four networks; where a look has none for photographs, it is the clean one."""
    write_gray("a.png")
    options = ("--compression", 90, "-o", "out.png", "--overwrite", *FP32)
    assert percept("upscale", "a.png", "--x2", "--blend", 0.25, *options).code == 0
    assert added("out.png") == 0.75 * 20 + 0.25 * 60
    assert percept("upscale", "a.png", "--x4", *options).code == 0
    assert added("out.png") == 8
    # Each picture of a larger width than 2 times needs the network for 4 times or 3.
    assert percept("upscale", "a.png", "--width", 110, *options).code == 0
    assert added("out.png") == 12


def test_without_a_network_for_photographs_nothing_is_chosen(here: Path, percept: Callable) -> None:
    """The clean one enlarges silently; an option that could change nothing is refused, as with -m."""
    write_gray("a.jpg", quality=50)
    outcome = percept("upscale", "a.jpg", "--x3", "-o", "out.png", "--json", *FP32)
    assert outcome.code == 0 and "a.jpg:" not in outcome.stderr
    assert added("out.png") == 12
    line = json.loads(outcome.stdout)
    assert (line["compression"], line["photo_share"]) == (50, 0)
    for options, message in (
        (["--x3"], "No network for compressed photographs that enlarges 3 times is shipped: leave --compression out."),
        (["-m", "swift-x2-natural"], "-m names one network, whatever the pictures lost: leave --compression out."),
    ):
        outcome = percept("upscale", "a.jpg", *options, "--compression", "none", "-o", "more.png")
        assert outcome.code == 2 and message in outcome.stderr
    line = json.loads(percept("upscale", "a.jpg", "-m", "swift-x2-natural", "-o", "m.png", "--json").stdout)
    assert "compression" not in line and added("m.png") == 20


@pytest.mark.parametrize("value", ["0", "101", "7.5", "-3", "high", ""])
def test_a_value_of_another_kind_is_refused(value: str, here: Path, percept: Callable) -> None:
    write_gray("a.png")
    outcome = percept("upscale", "a.png", "--x2", f"--compression={value}")
    assert outcome.code == 2 and "give auto, none or the quality of a JPEG, 1 to 100" in outcome.stderr


def test_what_is_shipped_is_found_by_scale_look_and_input() -> None:
    """A look is chosen first, then its input; factors and looks are those of the clean networks."""
    found = [
        manifest.find_upscaler(scale, look, input).name
        for scale, look, input in (
            (2, None, "clean"), (2, None, "photo"), (2, "faithful", "photo"), (3, None, "photo"), (4, None, "photo"),
        )
    ]  # fmt: skip
    assert found == [
        "swift-x2-natural", "swift-x2-natural-photo", "swift-x2-faithful-photo", "swift-x3-faithful", "swift-x4-faithful-photo",
    ]  # fmt: skip
    assert manifest.find_upscaler(2) == manifest.find_upscaler(2, "natural", "clean")
    assert manifest.upscaler_scales() == [2, 3, 4] and manifest.upscaler_scales(["natural"]) == [2]


def test_a_share_of_weights_from_python_gives_what_the_command_gives(here: Path, percept: Callable) -> None:
    """`photo_share` of what `find_compression` finds; its ends are the networks themselves."""
    photograph().save("photo.jpg", quality=85)
    photo = load_image(here / "photo.jpg")
    share = photo_share(find_compression(photo).quality)
    loaded = load_shipped_upscaler(2, "faithful", photo_share=share)
    assert loaded.name == "swift-x2-faithful-swift-x2-faithful-photo-0.75"
    runtime = choose_runtime("cpu", "fp32", 1)
    save_image(upscale(photo, runtime.place_network(loaded.network), runtime), here / "python.png")
    assert (
        percept("upscale", "photo.jpg", "--x2", "--look", "faithful", "--strip", "-o", "command.png", *FP32).code == 0
    )
    assert Path("python.png").read_bytes() == Path("command.png").read_bytes()
    for share, name in ((0.0, "swift-x2-faithful"), (1.0, "swift-x2-faithful-photo")):
        assert load_shipped_upscaler(2, "faithful", photo_share=share).name == name


def test_networks_that_mix_pictures_are_mixed_by_their_pictures(folder: Path) -> None:
    """Two pairs of different sizes have no weights in common, nor have the pairs among themselves."""

    def mixed(seed: int) -> Any:
        torch.manual_seed(seed)
        networks = [create_generator("upscaler", "swift", scale=2, channels=width, blocks=1) for width in (8, 16)]
        loaded = [
            blending.LoadedGenerator(network, "random", "swift", {"arguments": str(network.arguments)})
            for network in networks
        ]
        return blending.blend_upscalers(*loaded, 0.5)

    first, second = mixed(0), mixed(1)
    blend = blending.blend_upscalers(first, second, 0.25).network
    assert isinstance(blend, BlendedUpscaler)
    pixels = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(blend(pixels), 0.75 * first.network(pixels) + 0.25 * second.network(pixels))
