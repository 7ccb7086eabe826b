"""`percept rerun`: a result is made again by the record in its file, to the bit where machine and versions are the same."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from percept_cli import configuration
from percept_cli.core.batches.reruns import Difference, compare_results, find_files, find_input, record_of
from percept_cli.core.images.decode import load_image, read_record
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.provenance import Record
from percept_cli.errors import ExitCode, UsageError
from tests.conftest import PHOTOS, Percept

ENTRY = {
    "status": "done", "input": "/home/ann/holiday/sea.jpg", "input_sha256": "ab", "output": "/home/ann/out/sea_x2.jpg",
    "command": "stylize", "arguments": ["--model", "own/net.safetensors", "--mask", "/home/ann/sky.png"],
    "models": {"any-style": "12"}, "files": {"own/net.safetensors": "34", "/home/ann/sky.png": "56"},
    "percept": "0.1", "torch": "2.6", "device": "cpu", "precision": "bf16", "threads": 2, "seconds": 3.0,
}  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_record_names_files_without_their_folders() -> None:
    """What a manifest tells of a picture, for whoever gets the picture: nothing in it tells of the machine."""
    made = record_of(ENTRY)
    assert made.arguments == ("--model", "net.safetensors", "--mask", "sky.png")
    assert (made.input, made.files, made.models) == (
        "sea.jpg", {"net.safetensors": "34", "sky.png": "56"}, {"any-style": "12"},
    )  # fmt: skip
    assert "ann" not in made.to_json() and "own" not in made.to_json()


def test_two_files_of_one_name_have_two() -> None:
    """With one content they are one file."""
    words = ["--style", "a/x.jpg", "--style", "b/x.jpg", "--style", "c/x.jpg"]
    made = record_of({**ENTRY, "arguments": words, "files": {"a/x.jpg": "1", "b/x.jpg": "2", "c/x.jpg": "1"}})
    assert made.arguments[1::2] == ("x.jpg", "x-2.jpg", "x.jpg") and made.files == {"x.jpg": "1", "x-2.jpg": "2"}


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    """Beside the result by their names, elsewhere by any name; one of another content is not taken."""
    result, elsewhere = tmp_path / "result.png", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "near.png").write_bytes(b"near")
    (elsewhere / "renamed.png").write_bytes(b"far")
    wanted = dataclasses.replace(
        record_of(ENTRY),
        files={name: hashlib.sha256(name[:-4].encode()).hexdigest() for name in ("near.png", "far.png")},
    )
    found = find_files(wanted, result, [elsewhere / "renamed.png"])
    assert found == {"near.png": tmp_path / "near.png", "far.png": elsewhere / "renamed.png"}
    with pytest.raises(
        UsageError, match=r"'far\.png', which the result was made with, was not found: give it by --file"
    ):
        find_files(wanted, result, [])
    (tmp_path / "far.png").write_bytes(b"another")
    with pytest.raises(UsageError, match=r"far\.png' is not the file .*its sha256 is [0-9a-f]{16}\.\.\., that of the"):
        find_files(wanted, result, [])


def test_a_result_that_has_the_photographs_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `-o restyled/` and `--name '{name}'` give it: the photograph is then looked for in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("restyled").mkdir()
    Path("restyled/a.png").write_bytes(b"result")
    Path("a.png").write_bytes(b"photograph")
    wanted = dataclasses.replace(record_of(ENTRY), input="a.png", input_sha256=sha256(Path("a.png")))
    assert find_input(wanted, Path("restyled/a.png"), None) == Path("a.png")
    with pytest.raises(UsageError, match="from standard input: give the photograph by --input"):
        find_input(dataclasses.replace(wanted, input=None), Path("restyled/a.png"), None)


def test_how_much_two_results_differ(tmp_path: Path) -> None:
    """Known answers: 3 of 20 pixels by up to 7 levels; opacity counts; metadata does not."""
    pixels = torch.zeros(1, 3, 4, 5)
    changed = pixels.clone()
    changed[0, 1, 0, :3] = torch.tensor([1, 7, 2]) / 255
    pictures = {
        "a": Photo(pixels), "same": Photo(pixels), "told": Photo(pixels), "changed": Photo(changed),
        "clear": Photo(pixels, alpha=torch.full((1, 1, 4, 5), 0.8)), "small": Photo(pixels[..., :2]),
    }  # fmt: skip
    for name, picture in pictures.items():
        save_image(picture, tmp_path / f"{name}.png", record=record_of(ENTRY) if name == "told" else None)

    def difference(name: str) -> Difference:
        return compare_results(tmp_path / "a.png", tmp_path / f"{name}.png")

    assert difference("same").identical and difference("same").same_pixels
    assert not difference("told").identical and difference("told").same_pixels
    assert (difference("changed").share, difference("changed").largest) == pytest.approx((3 / 20, 7))
    assert (difference("clear").share, difference("clear").largest) == pytest.approx((1, 51))
    assert difference("small").sizes == ((4, 5), (4, 2)) and not difference("small").same_pixels


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photograph, which is the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(photos / "hill.png", "hill.png")
    return tmp_path


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif"])
def test_an_enlargement_is_made_again_to_the_bit(folder: Path, percept: Percept, extension: str) -> None:
    """The whole file, with its record, by the record alone; names of results and the folder tell nothing."""
    result = folder / "moved" / f"any-name.{extension}"
    result.parent.mkdir()
    percept("upscale", "hill.png", "--scale", "1.5", "--look", "faithful", "-o", result)
    again = percept("rerun", result, "-o", f"again.{extension}")
    assert (again.code, again.stdout) == (ExitCode.OK, f"{result}: identical\n")
    assert (folder / f"again.{extension}").read_bytes() == result.read_bytes()


def test_a_restyling_is_made_again_with_its_own_model_and_mask(
    folder: Path, style_model: Path, percept: Percept
) -> None:
    """Files that the options name are found beside the result, or given; the record has their names and hashes."""
    mask = folder / "masks" / "sky.png"
    mask.parent.mkdir()
    Image.new("L", PHOTOS["hill.png"], 255).save(mask)
    percept("stylize", "hill.png", "-m", style_model, "--mask", mask, "--strength", "0.5", "-o", "result.png")
    made = read_record(Path("result.png"))
    assert made.files == {style_model.name: sha256(style_model), "sky.png": sha256(mask)}
    assert set(made.arguments) == {"--model", style_model.name, "--mask", "sky.png", "--strength", "0.5"}
    missing = percept("rerun", "result.png", "--file", style_model)
    assert missing.code == ExitCode.USAGE and "'sky.png'" in missing.stderr
    again = percept("rerun", "result.png", "--file", style_model, "--file", mask, "--json")
    assert json.loads(again.stdout)["status"] == "identical"


def test_options_of_files_are_those_that_were_used(
    folder: Path, percept: Percept, surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record holds what a percept.toml set then; what one sets now does not count."""
    monkeypatch.delitem(surroundings, "PERCEPT_NO_CONFIG")
    monkeypatch.delenv("PERCEPT_NO_CONFIG", raising=False)
    monkeypatch.setattr(configuration, "user_file", lambda: folder / "none" / "percept.toml")
    Path("percept.toml").write_text('[upscale]\nlook = "faithful"\n')
    percept("upscale", "hill.png", "--x2", "-o", "result.png")
    assert read_record(Path("result.png")).arguments == ("--x2", "--look", "faithful")
    Path("percept.toml").write_text("[upscale]\nensemble = true\nstrip = true\n")
    again = percept("rerun", "result.png")
    assert (again.code, again.stdout) == (ExitCode.OK, "result.png: identical\n")
    percept("upscale", "hill.png", "--x2", "-o", "stripped.png")  # and the file counts again
    assert percept("rerun", "stripped.png").code == ExitCode.ALL_FAILED


def test_what_became_of_a_result_is_told(folder: Path, percept: Percept) -> None:
    """A result in which somebody changed pixels has exit code 3, and the share of the pixels."""
    percept("upscale", "hill.png", "--x2", "-o", "result.png")
    made, picture = read_record(Path("result.png")), load_image(Path("result.png"))
    picture.pixels[..., :10, :] = 0
    save_image(picture, Path("result.png"), record=made)
    again = percept("rerun", "result.png", "--json")
    told = json.loads(again.stdout)
    assert (again.code, told["status"]) == (ExitCode.SOME_FAILED, "different")
    assert told["share"] == pytest.approx(10 / picture.height, abs=0.01)


def test_another_photograph_model_or_version_is_told(folder: Path, photos: Path, percept: Percept) -> None:
    percept("upscale", "hill.png", "--x2", "-o", "result.png")
    made, picture = read_record(Path("result.png")), load_image(Path("result.png"))
    wrong = percept("rerun", "result.png", "--input", photos / "lake.jpg")
    assert wrong.code == ExitCode.USAGE and "lake.jpg' is not the file that the result was made with" in wrong.stderr
    for changes, code, text in [
        ({"percept": "0.0.9"}, ExitCode.OK, "warning: percept 0.0.9 made it, and this is"),
        ({"models": {"swift-x2": "0" * 64}}, ExitCode.MODEL, "made with the model 'swift-x2'"),
        ({"command": "models"}, ExitCode.USAGE, "of no command that makes pictures: 'models'"),
    ]:
        save_image(picture, Path("changed.png"), record=dataclasses.replace(made, **changes))  # type: ignore[arg-type]
        told = percept("rerun", "changed.png")
        assert told.code == code and text in told.stderr


@pytest.mark.parametrize(
    "words",
    [("--output", "hill.png", "--overwrite"), ("hill.png",), ("--model", "../own.safetensors"), ("--from-file", "list"),
     ("--", "hill.png"), ("--name", "x{ext}"), ("--such",), ("--help",), ("--dry-run",)],
)  # fmt: skip
def test_a_record_cannot_make_percept_do_anything_else(folder: Path, percept: Percept, words: tuple[str, ...]) -> None:
    """A picture may come from anyone: what its record asks for beyond pixels is refused before any work."""
    before = Path("hill.png").read_bytes()
    record = Record("0.1", "2.6", "upscale", ("--x2", *words), "hill.png", sha256(Path("hill.png")))
    save_image(load_image(Path("hill.png")), Path("result.png"), record=record)
    told = percept("rerun", "result.png")
    assert told.code == ExitCode.USAGE and "result.png" in told.stderr
    assert Path("hill.png").read_bytes() == before and sorted(path.name for path in folder.iterdir()) == [
        "hill.png", "result.png",
    ]  # fmt: skip


def test_what_results_tell_is_a_choice(folder: Path, percept: Percept) -> None:
    """By default all; --no-provenance keeps the photograph's own; --strip nothing. The pixels and the names are the same."""
    told = dataclasses.replace(load_image(Path("hill.png")), xmp=b"<x:own/>")
    save_image(told, Path("hill.png"))
    results = []
    for number, option in enumerate([[], ["--no-provenance"], ["--strip"]]):
        (folder / str(number)).mkdir()
        percept("upscale", "hill.png", "--x2", *option, "-o", f"{number}/")
        results.append(folder / str(number) / "hill_x2.png")
    photos = [load_image(result) for result in results]
    assert read_record(results[0]).arguments == ("--x2",)
    assert photos[1].xmp == b"<x:own/>" and photos[2].xmp is None
    for result in results[1:]:
        assert percept("rerun", result).code == ExitCode.ALL_FAILED
        assert torch.equal(load_image(result).pixels, photos[0].pixels)


def test_what_comes_through_a_pipe_tells_it_too(folder: Path, start_percept) -> None:  # type: ignore[no-untyped-def]
    """Standard input has no name: the photograph is then to be given."""
    process = start_percept("upscale", "-", "--x2", "-o", "-", "-q")
    data, _ = process.communicate(Path("hill.png").read_bytes(), timeout=120)
    Path("result.png").write_bytes(data)
    made = read_record(Path("result.png"))
    assert (made.input, made.input_sha256) == (None, sha256(Path("hill.png")))
