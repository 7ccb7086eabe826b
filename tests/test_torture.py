"""Damage, kills, full disks and little memory, many times at random: nothing wrong passes as good and nothing is lost."""

import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from PIL import Image

from percept_cli.core.images.decode import load_image
from percept_cli.core.pretrained.files import load_weights
from percept_cli.errors import ImageError
from tests.conftest import pictures_in, reported

pytestmark = pytest.mark.slow
LOG = logging.getLogger(__name__)  # figures: make test-slow shows them with --log-cli-level=INFO
FORMATS = ("png", "16.png", "apng", "jpg", "webp", "lossless.webp", "tiff", "bmp", "avif", "gif", "jp2", "ppm", "tga")
CHECKED = ("png", "16.png", "apng")  # their files hold a checksum of every chunk
MUTATIONS = 25
KILLS = 25
STARTED = 0.2  # seconds, after which Python itself has started and percept handles signals
CPU = ("--device", "cpu", "--precision", "fp32", "--threads", 1)
Start = Callable[..., "subprocess.Popen[bytes]"]


def write(path: Path, kind: str) -> None:
    """A photograph of 96 x 72 pixels in one of the formats."""
    photo = smooth_picture(96, 72, seed=3, cells=6)
    if kind == "16.png":
        levels = np.asarray(photo.convert("L")).astype(np.uint16) * 257
        Image.fromarray(levels).save(path)
    else:
        photo.save(path, **({"lossless": True} if kind == "lossless.webp" else {}))


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A file with one fault: a bit or some bytes changed, a part missing, zeroed or repeated, or its end cut off."""
    content = bytearray(data)
    place, length = chance.randrange(len(data)), chance.randint(1, 40)
    match chance.randrange(6):
        case 0:
            content[place] ^= 1 << chance.randrange(8)
        case 1:
            content[place : place + length] = chance.randbytes(length)
        case 2:
            del content[place : place + length]
        case 3:
            content[place : place + length] = bytes(length)
        case 4:
            content[place:place] = content[place : place + length]
        case 5:
            del content[max(1, place) :]
    return bytes(content)


def test_damaged_pictures_are_refused_or_right(tmp_path: Path, start_percept: Start) -> None:
    """Every file has its own line, none ends the batch, and a damaged PNG never gives other pixels than its original."""
    chance, originals = random.Random(0), {}
    folder = tmp_path / "in"
    folder.mkdir()
    for kind in FORMATS:
        original = tmp_path / f"original.{kind}"
        write(original, kind)
        originals[kind] = load_image(original).pixels
        for number in range(MUTATIONS):
            (folder / f"{number:02}.{kind}").write_bytes(mutated(original.read_bytes(), chance))
    count = len(FORMATS) * MUTATIONS
    arguments = ("upscale", folder, "--x2", "-o", f"{tmp_path}/out/", "--name", "{name}.png", "--json", *CPU)
    with start_percept(*arguments) as process:
        stdout, stderr = process.communicate(timeout=900)
    assert process.returncode == 3, stderr.decode()
    lines = reported(stdout)
    outcomes = Counter(line["status"] for line in lines)
    assert sum(outcomes.values()) == count and "internal error" not in stderr.decode()
    assert len(pictures_in(tmp_path / "out")) == outcomes["done"]
    passed = Counter[str]()
    for file in sorted(folder.iterdir()):
        kind = file.name.split(".", 1)[1]
        try:
            pixels = load_image(file).pixels
        except ImageError:
            continue
        passed[kind] += 1
        if kind in CHECKED:
            assert torch.equal(pixels, originals[kind]), file.name
    LOG.info(f"{count} damaged pictures: {dict(outcomes)}; decoded: {dict(passed)}")


def test_damaged_weights_are_5_or_the_same_picture(tmp_path: Path, style_model: Path, percept: Callable) -> None:
    """No fault of a file is an internal error, and no damaged weights give a result that is not made of numbers."""
    chance, codes = random.Random(1), Counter[int]()
    write(tmp_path / "photo.png", "png")
    torch.save(load_weights(style_model), tmp_path / "plain.pth")
    for original in (style_model, tmp_path / "plain.pth"):
        for number in range(MUTATIONS):
            model = tmp_path / f"{number}{original.suffix}"
            model.write_bytes(mutated(original.read_bytes(), chance))
            outcome = percept(
                "stylize", tmp_path / "photo.png", "-m", model, "-o", tmp_path / "out.png", "--overwrite", *CPU
            )
            codes[outcome.code] += 1
            assert outcome.code in (0, 4, 5), outcome.stderr
    LOG.info(f"{2 * MUTATIONS} damaged weights: exit codes {dict(codes)}")


@pytest.fixture(scope="module")
def training(photos: Path, style_picture: Path) -> Callable[[Path], list[object]]:
    """The arguments of a training of some seconds that writes a model."""

    def arguments(output: Path) -> list[object]:
        return [
            "train-style", "--style", style_picture, "--data", photos, "-o", output, "--steps", 400, "--batch", 2,
            "--size", 64, "--style-size", 48,
            "--generator", "johnson", "--width", 0.25, "--extractor-weights", "random", "--content-layers",
            "relu2_2", "--style-layers", "relu1_1,relu2_1", *CPU,
        ]  # fmt: skip

    return arguments


def test_a_training_that_is_killed_often_ends_at_the_same_bits(
    tmp_path: Path, training: Callable, start_percept: Start
) -> None:
    """By SIGKILL, SIGTERM, SIGINT and SIGHUP at random moments, each time gone on from where it was."""
    chance = random.Random(2)
    with start_percept(*training(tmp_path / "whole.safetensors")) as process:
        _, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stderr.decode()
    model, kills, codes = tmp_path / "killed.safetensors", 0, Counter[int]()
    while not model.exists():
        with start_percept(*training(model), "--resume") as process:
            if kills < KILLS:
                time.sleep(chance.uniform(STARTED, 9))
                number = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
                process.send_signal(number)
                kills += 1
            _, stderr = process.communicate(timeout=900)
        codes[process.returncode] += 1
        assert process.returncode in (0, -signal.SIGKILL, 129, 130, 143), stderr.decode()
        assert "Traceback" not in stderr.decode()
    one, other = load_weights(tmp_path / "whole.safetensors"), load_weights(model)
    assert all(torch.equal(one[name], other[name]) for name in one)
    LOG.info(f"training killed {kills} times: exit codes {dict(codes)}, the same bits")


def test_a_batch_that_is_killed_often_ends_with_the_same_files(tmp_path: Path, start_percept: Start) -> None:
    """The results of 60 pictures are those of a batch that nothing disturbed; no half and no hidden file is left."""
    chance, folder = random.Random(3), tmp_path / "in"
    folder.mkdir()
    for number in range(60):
        smooth_picture(320, 240, seed=number, cells=6).save(folder / f"{number}.png")
    command = ("stylize", folder, "-m", "wave", "--skip-existing", *CPU)
    with start_percept(*command, "-o", f"{tmp_path}/whole/") as process:
        process.communicate(timeout=900)
    assert process.returncode == 0
    codes = Counter[int]()
    for attempt in range(KILLS + 1):
        with start_percept(*command, "-o", f"{tmp_path}/killed/") as process:
            if attempt < KILLS:
                time.sleep(chance.uniform(STARTED, 9))
                process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
            _, stderr = process.communicate(timeout=900)
        codes[process.returncode] += 1
        assert process.returncode in (0, -signal.SIGKILL, 129, 130, 143), stderr.decode()
        assert "Traceback" not in stderr.decode()
    whole, killed = (
        {file.name: file.read_bytes() for file in pictures_in(tmp_path / name)} for name in ("whole", "killed")
    )
    assert killed == whole and len(whole) == 60
    LOG.info(f"batch killed {KILLS} times: exit codes {dict(codes)}, the same files")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode
    ):
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_fails_what_does_not_fit(small_disk: Path, tmp_path: Path, start_percept: Start) -> None:
    """Each picture that does not fit is an error of its own; what was written is whole."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        smooth_picture(400, 300, seed=number, cells=6).save(folder / f"{number}.png")
    with start_percept("stylize", folder, "-m", "wave", "-o", f"{small_disk}/out/", "--json", *CPU) as process:
        stdout, stderr = process.communicate(timeout=300)
    outcomes = Counter(line["status"] for line in reported(stdout))
    assert process.returncode == 3 and outcomes["failed"] and outcomes["done"], stderr.decode()
    assert "No space left" in stderr.decode()
    written = pictures_in(small_disk / "out")
    assert len(written) == outcomes["done"] and all(load_image(file).height == 300 for file in written)


def test_a_training_on_a_full_disk_goes_on_from_what_it_has(
    small_disk: Path, training: Callable, start_percept: Start
) -> None:
    """It ends with a sentence; with room again it resumes and ends with its model."""
    (small_disk / "ballast").write_bytes(bytes(900_000))
    model = small_disk / "model.safetensors"
    with start_percept(*training(model)) as process:
        _, stderr = process.communicate(timeout=300)
    assert process.returncode not in (0, 1) and "No space left" in stderr.decode()
    assert "Traceback" not in stderr.decode()
    (small_disk / "ballast").unlink()
    with start_percept(*training(model), "--resume") as process:
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr.decode()
    assert load_weights(model)


@pytest.mark.parametrize(
    "redirections", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| head -n 1"]
)
def test_streams_that_are_closed_or_full_lose_no_picture(
    redirections: str, tmp_path: Path, surroundings: dict[str, str]
) -> None:
    """All pictures are made; only the names of results are lost."""
    for number in range(3):
        smooth_picture(64, 48, seed=number, cells=6).save(tmp_path / f"{number}.png")
    command = f"python -m percept_cli stylize {tmp_path}/*.png -m wave --device cpu -o {tmp_path}/out/ {redirections}"
    root = Path(__file__).parent.parent
    venv = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, **surroundings, "PATH": venv, "PYTHONPATH": str(root)}
    done = subprocess.run(["bash", "-c", command], env=environment, timeout=300)
    assert done.returncode in ((0, 3, 4) if "full" in redirections or ">&-" in redirections else (0,))
    assert len(pictures_in(tmp_path / "out")) == 3


def test_too_little_memory_fails_the_large_picture_alone(tmp_path: Path, surroundings: dict[str, str]) -> None:
    """The others are restyled, and the message names the picture and a way out."""
    for name, (width, height) in {"a": (80, 60), "b": (9000, 7000), "c": (80, 60)}.items():
        Image.new("RGB", (width, height), (90, 120, 30)).save(tmp_path / f"{name}.png")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "percept_cli", "stylize", tmp_path, "-m", "wave", "-o", tmp_path / "out", *map(str, CPU)],
        env={**os.environ, **surroundings, "PYTHONPATH": str(root)}, preexec_fn=limit, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "b.png" in done.stderr and "--size" in done.stderr
    assert len(pictures_in(tmp_path / "out")) == 2
