"""`percept compare`: files and folders, figures with their protocol, heat maps, what it refuses and leaves out."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import squeezenet1_1

from percept_cli.core.files.folders import match_by_name
from percept_cli.core.images.decode import load_image
from percept_cli.core.measures import comparison
from percept_cli.core.measures.comparison import load_pair
from percept_cli.core.measures.pixels import luma, psnr
from percept_cli.core.pretrained.files import TORCHVISION_FILES, cached_torchvision_weights
from percept_cli.errors import ExitCode, Interrupted, ModelError

CPU = ("--device", "cpu")
PIXELS = (*CPU, "--metrics", "psnr,ssim")
QUICK = (*CPU, "--metrics", "psnr,perceptual", "--extractor-weights", "random", "--layers", "relu1_2,relu2_1")


@pytest.fixture
def folders(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`a` with two photographs and `b` with brighter copies, in a folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for name in ("hill.png", "lake.jpg"):
        shutil.copy(photos / name, tmp_path / "a" / name)
        with Image.open(photos / name) as image:
            brighter = np.asarray(image, dtype=np.int32) + 10
        Image.fromarray(brighter.clip(0, 255).astype(np.uint8)).save(tmp_path / "b" / f"{Path(name).stem}_new.png")
    return tmp_path


@pytest.fixture
def cached_squeezenet(surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An untrained SqueezeNet 1.1 in the cache, under a name that its checksum fits."""
    folder = Path(surroundings["PERCEPT_HOME"]) / "extractors"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("PERCEPT_HOME", surroundings["PERCEPT_HOME"])
    temporary = folder / "untrained.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(squeezenet1_1(weights=None).state_dict(), temporary)
    digits = hashlib.sha256(temporary.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(TORCHVISION_FILES, "squeezenet1_1", f"squeezenet1_1-{digits}.pth")
    path = temporary.rename(folder / TORCHVISION_FILES["squeezenet1_1"])
    yield path
    path.unlink()


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def figures_of(percept: Callable, *arguments: object) -> dict[str, float]:
    outcome = percept("compare", *arguments, "--json")
    assert outcome.code == 0, outcome.stderr
    return lines_of(outcome.stdout)[0]["figures"]


# What it prints


def test_two_files_give_a_table(folders: Path, percept: Callable) -> None:
    """Figures as papers round them, alone on standard output, quiet or not; with -v how they were taken."""
    outcome = percept("compare", "a/hill.png", "b/hill_new.png", *PIXELS, "--border", 3, "-v")
    assert outcome.code == 0, outcome.stderr
    header, row = (line.split() for line in outcome.stdout.splitlines())
    assert header == ["psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"]
    assert row[0] == "hill.png"
    first, second = (load_image(Path(name)).pixels[..., 3:-3, 3:-3] for name in ("a/hill.png", "b/hill_new.png"))
    assert row[1] == f"{psnr(first, second, luma).item():.2f}"
    assert row[2] == f"{psnr(first, second).item():.2f}"
    for detail in ("border_pixels: 3\n", "BT.601 studio range", "11x11 Gaussian window, sigma 1.5", "running on cpu"):
        assert detail in outcome.stderr
    quiet = percept("compare", "a/hill.png", "b/hill_new.png", *PIXELS, "--border", 3, "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, outcome.stdout, "")


def test_json_has_an_object_a_pair_and_one_for_the_mean(folders: Path, percept: Callable) -> None:
    """Each with figures and protocol; the mean's figures are those of the pairs."""
    outcome = percept("compare", "a", "b", *QUICK, "--border", 2, "--json")
    assert outcome.code == 0, outcome.stderr
    first, second, mean = lines_of(outcome.stdout)
    assert [(Path(line["a"]).name, Path(line["b"]).name, line["status"]) for line in (first, second)] == [
        ("hill.png", "hill_new.png", "done"), ("lake.jpg", "lake_new.png", "done"),
    ]  # fmt: skip
    assert first.keys() == {"a", "b", "status", "figures", "omitted", "protocol"}
    assert (mean["status"], mean["pairs"]) == ("mean", 2)
    for name in ("psnr_y", "psnr_rgb", "perceptual"):
        assert mean["figures"][name] == pytest.approx((first["figures"][name] + second["figures"][name]) / 2)
    assert first["protocol"] == second["protocol"] == mean["protocol"]
    assert first["protocol"]["border_pixels"] == 2
    assert "compact (random), mean of relu1_2, relu2_1, fp32" in first["protocol"]["perceptual"]


def test_folders_give_a_row_a_pair_and_a_mean(folders: Path, percept: Callable) -> None:
    """In the order of their names."""
    outcome = percept("compare", "a", "b", *PIXELS)
    assert outcome.code == 0, outcome.stderr
    lines = outcome.stdout.splitlines()[-4:]
    assert len({len(line) for line in lines}) == 1
    header, *rows = (line.split() for line in lines)
    assert [header[0], *(row[0] for row in rows)] == ["psnr_y", "hill.png", "lake.jpg", "mean"]
    assert float(rows[2][3]) == pytest.approx((float(rows[0][1]) + float(rows[1][1])) / 2, abs=0.011)


def test_what_was_compared_before_an_interruption_is_printed(
    folders: Path, percept: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row comes when its pair is done."""

    def stop(first: Path, second: Path) -> tuple:
        if first.name == "lake.jpg":
            raise Interrupted("stopped", ExitCode.INTERRUPTED)
        return load_pair(first, second)

    monkeypatch.setattr(comparison, "load_pair", stop)
    outcome = percept("compare", "a", "b", *PIXELS)
    assert outcome.code == 130
    header, row = outcome.stdout.splitlines()
    assert header.split()[0] == "psnr_y" and row.startswith("hill.png")


def test_a_pair_too_large_for_the_memory_fails_alone(
    folders: Path, percept: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are compared, exit 3; alone it is 6."""

    def load(first: Path, second: Path) -> tuple:
        if first.name == "hill.png":
            raise MemoryError
        return load_pair(first, second)

    monkeypatch.setattr(comparison, "load_pair", load)
    outcome = percept("compare", "a", "b", *PIXELS, "--json")
    assert outcome.code == 3
    assert [line["status"] for line in lines_of(outcome.stdout)] == ["failed", "done", "mean"]
    assert "Not enough memory for hill.png and hill_new.png" in outcome.stderr
    outcome = percept("compare", "a/hill.png", "b/hill_new.png", *PIXELS)
    assert (outcome.code, outcome.stdout) == (6, "")


def test_equal_images_are_at_no_distance(folders: Path, percept: Callable) -> None:
    """SSIM 1, distance 0; a PSNR of infinity is null in JSON, which has no other word for it."""
    pair = ("a/hill.png", "a/hill.png", *CPU, "--metrics", "psnr,ssim,perceptual")
    figures = figures_of(percept, *pair)
    assert figures["ssim_y"] == figures["ssim_rgb"] == pytest.approx(1)
    assert figures["perceptual"] == pytest.approx(0, abs=1e-9)
    assert figures["psnr_y"] is figures["psnr_rgb"] is None
    assert " inf " in percept("compare", *pair).stdout


def test_the_default_metrics_are_all_that_need_no_download(folders: Path, percept: Callable) -> None:
    """On the shipped extractor; MS-SSIM is left out, with the reason, of pictures that are too small for it."""
    large = [folders / f"{name}.png" for name in "ab"]
    for path, source in zip(large, ("a/hill.png", "b/hill_new.png"), strict=True):
        with Image.open(source) as image:
            image.resize((190, 180)).save(path)
    assert figures_of(percept, *large, *CPU).keys() == {
        "psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb", "ms_ssim_y", "perceptual",
    }  # fmt: skip
    outcome = percept("compare", "a/hill.png", "b/hill_new.png", *CPU, "--json")
    (line,) = lines_of(outcome.stdout)
    assert "ms_ssim_y" not in line["figures"] and "perceptual" in line["figures"]
    reason = "ms_ssim needs at least 176 pixels a side, not 75x61"
    assert line["omitted"] == {"ms_ssim": reason} and reason in outcome.stderr
    assert "relu1_2, relu2_2, relu3_4" in line["protocol"]["perceptual"]


# Options


def test_border_leaves_the_edge_out_of_the_pixel_metrics_alone(folders: Path, percept: Callable) -> None:
    """Pictures that differ at the edge only are equal within; the perceptual distance is of the whole."""
    with Image.open("a/hill.png") as image:
        framed = np.array(image)
    framed[:4] = framed[-4:] = 0
    Image.fromarray(framed).save("framed.png")
    whole = figures_of(percept, "a/hill.png", "framed.png", *QUICK)
    inside = figures_of(percept, "a/hill.png", "framed.png", *QUICK, "--border", 4)
    assert whole["psnr_y"] < 30 and inside["psnr_y"] is None
    assert whole["perceptual"] == inside["perceptual"] > 0


def test_extractor_layers_weights_and_seed_reach_the_distance(folders: Path, percept: Callable) -> None:
    """Each changes the figure; the same again does not."""
    pair = ("a/hill.png", "b/hill_new.png", *CPU, "--metrics", "perceptual")
    random = ("--extractor-weights", "random")
    figures = [
        figures_of(percept, *pair, *further)["perceptual"]
        for further in (
            (), ("--layers", "relu1_2"), random, (*random, "--seed", 1), (*random, "--extractor", "squeezenet1_1"),
        )
    ]  # fmt: skip
    assert len(set(figures)) == 5
    assert figures_of(percept, *pair, *random)["perceptual"] == figures[2]


def test_a_gram_distance_is_measured_in_the_second_images_own(folders: Path, percept: Callable) -> None:
    """0 of equal images, small of brighter ones, and relative: the extractor's scale does not matter."""
    metric = (*CPU, "--metrics", "gram", "--extractor-weights", "random", "--layers", "relu1_2, relu2_1")
    assert figures_of(percept, "a/hill.png", "a/hill.png", *metric)["gram"] == 0
    assert 0 < figures_of(percept, "a/hill.png", "b/hill_new.png", *metric)["gram"] < 0.5


@pytest.mark.parametrize("metric", ["gram", "contextual"])
def test_a_style_is_not_compared_in_layers_without_places(metric: str, folders: Path, percept: Callable) -> None:
    outcome = percept(
        "compare", "a/hill.png", "b/hill_new.png", *CPU, "--metrics", metric, "--extractor", "alexnet",
        "--extractor-weights", "random", "--layers", "fc6",
    )  # fmt: skip
    assert outcome.code == 2
    assert "fc6 of alexnet has one code for the whole picture" in outcome.stderr


def test_the_contextual_loss_forgets_places_and_equal_images_have_none(folders: Path, percept: Callable) -> None:
    """A picture turned around is further in pixels than in context; layers are the option's, or one of depth."""
    with Image.open("a/hill.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("b/turned.png")
    metric = (*CPU, "--metrics", "contextual,psnr", "--extractor-weights", "random")
    equal = figures_of(percept, "a/hill.png", "a/hill.png", *metric)
    turned = figures_of(percept, "a/hill.png", "b/turned.png", *metric)
    brighter = figures_of(percept, "a/hill.png", "b/hill_new.png", *metric)
    assert equal["contextual"] == pytest.approx(0, abs=1e-4)
    assert 0 < brighter["contextual"] < turned["contextual"] < 4
    layers = ("--layers", "relu2_1,relu3_1")
    assert figures_of(percept, "a/hill.png", "b/turned.png", *metric, *layers)["contextual"] != turned["contextual"]
    outcome = percept("compare", "a/hill.png", "b/turned.png", *metric, *layers, "--json")
    assert "relu2_1, relu3_1" in lines_of(outcome.stdout)[0]["protocol"]["contextual"]


def test_precision_is_fp32_unless_asked(folders: Path, percept: Callable) -> None:
    """bf16 gives nearly the same figure and says so in the protocol."""
    pair = ("compare", "a/hill.png", "b/hill_new.png", *CPU, "--metrics", "perceptual", "--json")
    (exact,), (rough,) = (lines_of(percept(*pair, *further).stdout) for further in ((), ("--precision", "bf16")))
    assert "fp32" in exact["protocol"]["perceptual"] and "bf16" in rough["protocol"]["perceptual"]
    assert exact["figures"]["perceptual"] != rough["figures"]["perceptual"]
    assert rough["figures"]["perceptual"] == pytest.approx(exact["figures"]["perceptual"], rel=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--metrics", "psnrr"), "Unknown metric 'psnrr'. Did you mean 'psnr'?"),
        (("--layers", "rellu1_2"), "Did you mean 'relu1_2'?"),
        (("--extractor", "vgg91"), "Unknown extractor 'vgg91'. Did you mean 'vgg19'?"),
        (("--border", "-1"), "--border"),
    ],
)
def test_a_misspelt_option_is_2(given: tuple[str, str], message: str, folders: Path, percept: Callable) -> None:
    """With a suggestion, and nothing is compared."""
    outcome = percept("compare", "a", "b", *CPU, *given)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert message in outcome.stderr


# Heat maps


def test_a_heat_map_is_written_beside_the_figures(folders: Path, percept: Callable) -> None:
    """Of the pictures' size, black where they are equal, and its scale is told; perceptual where that was measured."""
    with Image.open("a/hill.png") as image:
        changed = np.array(image)
    changed[20:30, 40:50] = 255 - changed[20:30, 40:50]
    Image.fromarray(changed).save("changed.png")
    for further, kind in ((QUICK, "perceptual"), (PIXELS, "absolute")):
        outcome = percept("compare", "a/hill.png", "changed.png", *further, "-o", "heat.png", "--overwrite", "--json")
        assert outcome.code == 0, outcome.stderr
        (line,) = lines_of(outcome.stdout)
        assert (line["heat_map"]["output"], line["heat_map"]["kind"]) == ("heat.png", kind)
        assert line["heat_map"]["white"] > 0
        assert f"heat.png: white is a difference of {line['heat_map']['white']:.3f} ({kind})" in outcome.stderr
        heat = load_image(Path("heat.png")).pixels
        assert heat.shape == (1, 3, 61, 75)
        assert heat[..., 20:30, 40:50].mean() > 0.2 and heat.amax() == 1
        assert heat[..., 40:, :25].max() == 0


def test_folders_give_a_folder_of_heat_maps(folders: Path, percept: Callable) -> None:
    """One a pair; existing ones are refused, left or replaced as in every command, the figures come all the same."""
    assert percept("compare", "a", "b", *PIXELS, "-o", "heat").code == 0
    written = folders / "heat" / "lake_difference.png"
    assert sorted(path.name for path in (folders / "heat").iterdir()) == ["hill_difference.png", written.name]
    written.write_text("precious")
    outcome = percept("compare", "a", "b", *PIXELS, "-o", "heat")
    assert (outcome.code, outcome.stdout) == (2, "")
    outcome = percept("compare", "a", "b", *PIXELS, "-o", "heat", "--skip-existing")
    assert outcome.code == 0 and "lake.jpg" in outcome.stdout and written.read_text() == "precious"
    assert percept("compare", "a", "b", *PIXELS, "-o", "heat", "--overwrite").code == 0
    assert load_image(written).pixels.shape[-2:] == (97, 66)


@pytest.mark.parametrize("output", ["a/hill.png", "b/hill_new.png", "-"])
def test_a_heat_map_never_replaces_an_input(output: str, folders: Path, percept: Callable) -> None:
    """Nor the figures on standard output."""
    before = {path: path.read_bytes() for path in folders.rglob("*.png")}
    outcome = percept("compare", "a/hill.png", "b/hill_new.png", *PIXELS, "-o", output, "--overwrite")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert {path: path.read_bytes() for path in folders.rglob("*.png")} == before


# What cannot be compared


def test_sizes_that_differ_are_named(folders: Path, percept: Callable) -> None:
    """Both of them; nothing is resized, and the only pair failing is 4."""
    outcome = percept("compare", "a/hill.png", "a/lake.jpg", *PIXELS)
    assert (outcome.code, outcome.stdout) == (4, "")
    assert "75x61" in outcome.stderr and "66x97" in outcome.stderr


def test_a_file_without_a_partner_fails_alone(folders: Path, percept: Callable) -> None:
    """On either side: exit 3, each named, the others compared and averaged."""
    shutil.copy("a/hill.png", "a/alone.png")
    shutil.copy("a/hill.png", "b/stranger.png")
    outcome = percept("compare", "a", "b", *PIXELS, "--json")
    assert outcome.code == 3
    lines = lines_of(outcome.stdout)
    assert {Path(line["file"]).name for line in lines if line["status"] == "failed"} == {"alone.png", "stranger.png"}
    assert [line["pairs"] for line in lines if line["status"] == "mean"] == [2]
    assert "no name in the second folder begins with 'alone'" in outcome.stderr
    assert "2 failed, 2 compared" in outcome.stderr


def test_a_bad_pair_of_two_is_3_and_two_are_4(folders: Path, percept: Callable) -> None:
    """Damaged files and sizes that differ are failures of their pair."""
    (folders / "b" / "hill_new.png").write_text("not an image")
    outcome = percept("compare", "a", "b", *PIXELS, "--json")
    assert outcome.code == 3
    assert [line["status"] for line in lines_of(outcome.stdout)] == ["failed", "done", "mean"]
    Image.new("RGB", (20, 20)).save("b/lake_new.png")
    outcome = percept("compare", "a", "b", *PIXELS)
    assert (outcome.code, outcome.stdout) == (4, "")


def test_a_file_beside_a_folder_and_an_empty_folder_are_2(folders: Path, percept: Callable) -> None:
    """Before any work."""
    outcome = percept("compare", "a", "b/hill_new.png", *PIXELS)
    assert outcome.code == 2 and "two files or two folders" in outcome.stderr
    (folders / "empty").mkdir()
    assert percept("compare", "a", "empty", *PIXELS).code == 2
    assert percept("compare", "a/hill.png", "missing.png", *PIXELS).code == 4


def test_names_are_matched_whole_first_then_by_their_beginning() -> None:
    """A file goes to the longest name it begins with; what is not clear is left out, with both sides' reasons."""

    def match(firsts: str, seconds: str) -> tuple[dict[str, str], dict[str, str]]:
        pairs, unmatched = match_by_name([Path(name) for name in firsts.split()], list(map(Path, seconds.split())))
        return {str(pair.first): str(pair.second) for pair in pairs}, {
            str(key): value for key, value in unmatched.items()
        }

    assert match("a1.png a10.png", "a10_x4.png a1_x4.png") == ({"a1.png": "a1_x4.png", "a10.png": "a10_x4.png"}, {})
    pairs, unmatched = match("cat.png", "cat.jpg cat_x4.png")
    assert pairs == {"cat.png": "cat.jpg"} and "partner of its very name" in unmatched["cat_x4.png"]
    pairs, unmatched = match("cat.png dog.png", "cat_x2.png cat_x4.png dog.png")
    assert pairs == {"dog.png": "dog.png"} and "'cat_x2.png', 'cat_x4.png'" in unmatched["cat.png"]
    pairs, unmatched = match("cat.png cat.jpg", "cat_x2.png")
    assert pairs == {} and unmatched.keys() == {"cat.png", "cat.jpg"}
    assert "2 files of the first folder are called 'cat'" in unmatched["cat.png"]


def test_a_border_as_large_as_the_picture_is_4(folders: Path, percept: Callable) -> None:
    """It leaves nothing to compare."""
    outcome = percept("compare", "a/hill.png", "b/hill_new.png", *PIXELS, "--border", 31)
    assert outcome.code == 4 and "leaves nothing of 75x61" in outcome.stderr


def test_hidden_colors_are_not_compared(folders: Path, percept: Callable) -> None:
    """Transparent pictures are laid over black, and the user is told."""
    for name, hidden in (("first", 0), ("second", 200)):
        levels = np.full((20, 20, 4), (90, 120, 30, 255), dtype=np.uint8)
        levels[:10] = (hidden, hidden, hidden, 0)
        Image.fromarray(levels).save(f"{name}.png")
    outcome = percept("compare", "first.png", "second.png", *PIXELS, "--json")
    assert lines_of(outcome.stdout)[0]["figures"]["psnr_rgb"] is None
    assert "laid over black" in outcome.stderr


# LPIPS and DISTS


def test_a_learned_metric_without_its_network_is_left_out(folders: Path, percept: Callable) -> None:
    """One sentence names the file that is missing; with no other metric there is nothing to do, which is 5."""
    pair = ("compare", "a/hill.png", "b/hill_new.png", *CPU)
    outcome = percept(*pair, "--metrics", "psnr,lpips,dists", "--json")
    assert outcome.code == 0
    (line,) = lines_of(outcome.stdout)
    assert line["omitted"].keys() == {"lpips", "dists"} and line["figures"].keys() == {"psnr_y", "psnr_rgb"}
    for file in ("alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"):
        assert outcome.stderr.count(f"needs {file}, which is not in") == 1
    outcome = percept(*pair, "--metrics", "lpips")
    assert outcome.code == 5 and "alexnet-owt-7be5be79.pth" in outcome.stderr


def test_a_learned_metric_takes_its_network_from_the_cache(
    folders: Path, cached_squeezenet: Path, percept: Callable
) -> None:
    """Offline as ever; farther pictures are farther, and one too small for every metric that was asked for fails."""
    lpips = (*CPU, "--metrics", "lpips_squeeze")
    near = figures_of(percept, "a/hill.png", "b/hill_new.png", *lpips)["lpips_squeeze"]
    with Image.open("a/hill.png") as image:
        image.transpose(Image.Transpose.ROTATE_180).save("turned.png")
    assert 0 < near < figures_of(percept, "a/hill.png", "turned.png", *lpips)["lpips_squeeze"]
    Image.new("RGB", (40, 16)).save("small.png")
    outcome = percept("compare", "small.png", "small.png", *lpips)
    assert (outcome.code, outcome.stdout) == (4, "")
    assert "lpips_squeeze needs at least 17 pixels a side, not 40x16" in outcome.stderr


def test_a_damaged_network_in_the_cache_is_5(folders: Path, cached_squeezenet: Path, percept: Callable) -> None:
    """It is named, not used and not passed over."""
    assert cached_torchvision_weights("squeezenet1_1") == cached_squeezenet
    cached_squeezenet.write_bytes(cached_squeezenet.read_bytes()[:-1])
    with pytest.raises(ModelError, match=f"{cached_squeezenet.name} is damaged"):
        cached_torchvision_weights("squeezenet1_1")
    outcome = percept("compare", "a/hill.png", "b/hill_new.png", *CPU, "--metrics", "psnr,lpips_squeeze")
    assert outcome.code == 5 and "damaged" in outcome.stderr
