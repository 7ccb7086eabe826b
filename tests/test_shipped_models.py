"""What ships, on a photograph that nothing was trained on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from percept_cli.core.data.photos import sample_photos
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import middle_square
from percept_cli.core.measures.spectrum import THRESHOLD, checkerboard_peaks
from percept_cli.core.pretrained import files
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.generators import check_inverter, load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.errors import ModelError

pytestmark = pytest.mark.numerical
UPSCALERS = [model.name for model in shipped_models().values() if model.role == "upscaler"]
INVERTERS = [model.name for model in shipped_models().values() if model.role == "inverter"]
TRANSPORTS = [
    model.name for model in shipped_models().values() if (model.role, model.architecture) == ("style", "transport")
]
STYLES = [model.name for model in shipped_models().values() if model.role == "style"]


def photograph(side: int) -> torch.Tensor:
    """The middle of the sample photograph of an astronaut, (1, 3, side, side)."""
    path = next(path for path in sample_photos() if path.stem == "astronaut")
    return middle_square(load_image(path).pixels, side)


@pytest.mark.parametrize("name", UPSCALERS)
@torch.inference_mode()
def test_an_upscaler_leaves_no_checkerboard(name: str) -> None:
    """Neither of the periods that its sub-pixel convolution could leave stands out of the spectrum."""
    network = load_generator(name, "upscaler").network
    peaks = checkerboard_peaks(network(photograph(96)).clamp(0, 1), network.scale)
    assert max(peaks.values()) < THRESHOLD, peaks


@pytest.mark.parametrize("name", [name for name in STYLES if name != "woodcut"])  # whose paper is white
@torch.inference_mode()
def test_a_style_leaves_no_white_blotch(name: str) -> None:
    """Squares of 9 pixels that are all white: models whose decoders had instance norm left 0.3 to 1 % of them."""
    result = load_generator(name, "style").network(photograph(320)).clamp(0, 1)
    darkest = -F.max_pool2d(-result.amin(1, keepdim=True), 9, 1)
    assert (darkest > 0.97).float().mean() < 0.001


@pytest.mark.parametrize("name", TRANSPORTS)
@torch.inference_mode()
def test_a_style_of_bilinear_enlargement_leaves_no_grid(name: str) -> None:
    result = load_generator(name, "style").network(photograph(320)).clamp(0, 1)
    assert max(checkerboard_peaks(result, 4).values()) < THRESHOLD


@pytest.mark.parametrize("name", INVERTERS)
@torch.inference_mode()
def test_an_inverter_gives_back_the_photograph_and_no_other(name: str) -> None:
    """At an eighth of the size, its shapes and colors go with those of the photograph, and not of two others."""
    inverter = load_generator(name, "inverter")
    layer = inverter.metadata["layer"]
    extractor = create_extractor(inverter.metadata["extractor"], [layer])
    check_inverter(inverter, extractor, layer)
    chosen = [path for path in sample_photos() if path.stem in ("astronaut", "coffee", "chelsea")]
    photographs = torch.cat([middle_square(load_image(path).pixels, 160) for path in chosen])
    codes = extractor(photographs)[layer]
    found = inverter.network(codes, (160, 160)).clamp(0, 1)
    small, wanted = (F.avg_pool2d(images, 8).flatten(1) for images in (found, photographs))
    alike = F.cosine_similarity((small - small.mean(1, True))[:, None], wanted - wanted.mean(1, True), dim=2)
    assert alike.argmax(dim=1).tolist() == [0, 1, 2], alike
    assert alike.diagonal().min() > 0.5


def test_a_damaged_shipped_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit in the middle of a style would change every picture a little; its checksum is that of the manifest."""
    wave = shipped_models()["wave"]
    copy = tmp_path / wave.path.name
    data = bytearray(wave.path.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    monkeypatch.setattr(files, "shipped_models", lambda: {"wave": SimpleNamespace(path=copy, sha256=wave.sha256)})
    with pytest.raises(ModelError, match="is shipped, is damaged"):
        files.load_weights(copy)
    copy.write_bytes(wave.path.read_bytes())
    assert files.load_weights(copy)
