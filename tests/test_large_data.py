"""Data of a million photographs: the list, the order, and the threads that read."""

import os
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from percept_cli.core.data import batches
from percept_cli.core.data import photos as data
from percept_cli.core.data.batches import batches_from
from percept_cli.core.data.photos import Crops, PhotoReader, find_photos, fingerprint, shuffled
from percept_cli.core.files.listing import FileList
from percept_cli.core.images.decode import load_levels
from percept_cli.errors import ImageError
from tests.conftest import smooth_picture

MILLION = 1_000_000


def test_the_order_of_an_epoch_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A position costs no permutation of its own, and the orders are those that trainings of earlier versions had."""
    drawn: list[int] = []

    class Counted:
        def __init__(self, seed: tuple[int, ...]) -> None:
            self.random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

        def permutation(self, count: int) -> np.ndarray:
            drawn.append(count)
            return self.random.permutation(count)

    monkeypatch.setattr(np.random, "default_rng", Counted)
    data._order.cache_clear()
    for number in [*range(0, 2 * MILLION, 2503), 5, MILLION + 5]:
        order, position = shuffled(MILLION, 3, number)
        assert position == number % MILLION and len(order) == MILLION
    assert drawn == [MILLION, MILLION]
    monkeypatch.undo()
    for epoch in range(2):
        expected = np.random.default_rng((3, epoch, 1)).permutation(MILLION)
        assert np.array_equal(shuffled(MILLION, 3, epoch * MILLION + 7)[0], expected)


def test_a_list_of_files_is_that_of_paths_in_a_tenth_of_their_memory() -> None:
    """Index, slice, negative index, length and order; the text of each and the 8 bytes of its place."""
    names = [f"/photographs/{number // 1000:04d}/{number:07d}.jpg" for number in range(10_000)]
    files = FileList(names)
    assert len(files) == 10_000 and files[123] == Path(names[123]) and files[-1] == Path(names[-1])
    assert files[10:13] == [Path(name) for name in names[10:13]]
    assert list(files.texts()) == names and list(files)[:5] == [Path(name) for name in names[:5]]
    assert Path(names[77]) in files and Path("/elsewhere.jpg") not in files
    assert files.nbytes == sum(map(len, names)) + 8 * 10_001
    with pytest.raises(IndexError):
        files[10_000]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names must be of any bytes")
def test_photographs_are_found_as_before(tmp_path: Path) -> None:
    """In the order of their parts, `a/z` before `a-b`, through links to files and not to folders; any bytes in names."""
    folder = os.fsencode(tmp_path)
    for name in (
        b"a/z.jpg",
        b"a-b/c.jpg",
        b"a.jpg",
        b"B.PNG",
        b"\xff.jpg",
        b".hidden.jpg",
        b"a/text.txt",
        b".cache/d.jpg",
    ):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(name)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "none")
    (tmp_path / "around").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    found = find_photos([tmp_path])
    named = [os.fsencode(path.relative_to(tmp_path)) for path in found]
    assert list(found) == sorted(found)
    assert named == [
        b".cache/d.jpg",
        b"B.PNG",
        b"a/z.jpg",
        b"a-b/c.jpg",
        b"a.jpg",
        b"link.jpg",
        b"nowhere.jpg",
        b"\xff.jpg",
    ]
    assert fingerprint(found) == fingerprint(list(found))


def test_every_reader_has_an_example_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads read batches of two at once, in order; a batch is made of examples, not by one thread."""
    monkeypatch.setattr(batches, "count_readers", lambda: 8)

    class Slow:
        unreadable: dict[Path, str] = {}  # noqa: RUF012

        def __len__(self) -> int:
            return 32

        def __getitem__(self, number: int) -> Tensor:
            time.sleep(0.05)
            return torch.tensor(number)

    started = time.monotonic()
    found = list(batches_from(Slow(), 2, first=1))
    assert torch.equal(torch.cat(found), torch.arange(2, 32))
    assert time.monotonic() - started < 0.5 * 30 * 0.05  # 0.25 s for eight at once, 1.5 s for one


def test_the_readers_share_the_processors_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least two for each process, at most sixteen; torchrun tells how many processes there are."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)), raising=False)
    counts = []
    for processes in ("1", "4", "32"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        counts.append(batches.count_readers())
    assert counts == [16, 8, 2]


def _rewritten(png: bytes, pixels: bytes) -> bytes:
    """A PNG of three chunks with other compressed pixels, all with right checksums."""
    head = png[8 : 8 + 25]
    parts = [struct.pack(">I", len(pixels)) + b"IDAT" + pixels + struct.pack(">I", zlib.crc32(b"IDAT" + pixels))]
    return png[:8] + head + parts[0] + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def test_pixels_that_a_program_wrote_wrongly_are_no_training_data(tmp_path: Path) -> None:
    """With right checksums of the chunks: data that end early, a wrong bit, a wrong sum. Each is decoded once only."""
    path = tmp_path / "a.png"
    picture = smooth_picture(90, 60, 0, cells=6)
    rows = b"".join(b"\0" + np.asarray(picture)[row].tobytes() for row in range(60))
    picture.save(path)
    png, packed = path.read_bytes(), zlib.compress(rows)
    path.write_bytes(_rewritten(png, packed))
    assert load_levels(path).tobytes() == picture.tobytes()
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 8
    for wrong in (packed[: len(packed) // 2], bytes(flipped), packed[:-1] + bytes([packed[-1] ^ 1])):
        path.write_bytes(_rewritten(png, wrong))
        with pytest.raises(ImageError, match="damaged or incomplete"):
            load_levels(path)


def test_crops_of_a_photograph_come_in_steps_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is decoded once for its three steps, no batch of two processes has it twice, and all come once an epoch."""
    for gray in range(16):
        Image.new("RGB", (40, 40), (15 * gray, 0, 0)).save(tmp_path / f"{gray}.png")
    monkeypatch.setattr(data, "CACHE_BYTES", 0)
    decoded: list[Path] = []
    monkeypatch.setattr(data, "load_levels", lambda path, side: decoded.append(path) or load_levels(path, side))
    shared = {"photos": find_photos([tmp_path]), "size": 24, "seed": 4, "native": True}
    crops = Crops(count=48, repeats=3, apart=4, **shared)
    reds = [round(255 * crops[number][0].mean().item()) // 15 for number in range(48)]
    steps = [tuple(reds[start : start + 4]) for start in range(0, 48, 4)]
    assert steps[0] == steps[1] == steps[2] != steps[3] and steps[9] == steps[10] == steps[11]
    assert all(len(set(step)) == 4 for step in steps)
    assert list(range(16)) == sorted(red for step in steps[::3] for red in step)
    assert len(decoded) == 16
    plain = Crops(count=16, **shared)
    assert [round(255 * plain[number][0].mean().item()) // 15 for number in range(16)] == [
        red for step in steps[::3] for red in step
    ]


def test_of_threads_that_need_a_photograph_one_decodes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for it, also where only those read last are kept; more of them are not."""
    for number in range(3):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(data, "CACHE_BYTES", 0)
    decoded: list[Path] = []

    def load_slowly(path: Path, side: int | None) -> Image.Image:
        decoded.append(path)
        time.sleep(0.05)
        return load_levels(path, side)

    monkeypatch.setattr(data, "load_levels", load_slowly)
    reader = PhotoReader(find_photos([tmp_path]), recent=2)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reader.read, [0] * 8))
    assert len(decoded) == 1
    for index in (1, 0, 2, 0):
        reader.read(index)
    assert [path.name for path in decoded] == ["0.png", "1.png", "2.png", "0.png"]
    monkeypatch.setattr(data, "RECENT_BYTES", 20 * 20 * 3)  # of one
    for index in (1, 1, 2, 1):
        reader.read(index)
    assert [path.name for path in decoded[4:]] == ["1.png", "2.png", "1.png"]
