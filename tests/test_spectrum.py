"""The artifact guard finds the patterns that enlarging leaves, and takes no photograph or texture for one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.images.resize import shrink_as_matlab, to_levels
from percept_cli.core.measures.pixels import luma
from percept_cli.core.measures.spectrum import FLOOR, THRESHOLD, checkerboard_peaks, log_power
from percept_cli.errors import ImageError

pytestmark = pytest.mark.numerical
FAINT = 2 / 255
PERIODS = {2: [2], 3: [3], 4: [2, 4], 8: [2, 4, 8]}


def picture(name: str) -> Tensor:
    levels = np.asarray(getattr(data, name)())
    levels = levels[..., :3] if levels.ndim == 3 else np.repeat(levels[..., None], 3, 2)
    return torch.from_numpy(np.ascontiguousarray(levels)).permute(2, 0, 1)[None].float() / 255


def enlarged(name: str, scale: int) -> Tensor:
    image = picture(name)
    small = shrink_as_matlab(image, image.shape[-2] // scale, image.shape[-1] // scale)
    return to_levels(BicubicBase(scale)(small))


def transposed_pattern(image: Tensor, scale: int) -> Tensor:
    """What transposed convolutions with weights that nobody trained leave on a plain surface, of the faint amplitude."""
    torch.manual_seed(1)
    surface = torch.ones(1, 4, image.shape[-2] // scale + 4, image.shape[-1] // scale + 4)
    with torch.no_grad():
        for _ in range(int(np.log2(scale))):
            layer = nn.ConvTranspose2d(4, 4, 3, 2, padding=1, output_padding=1)
            surface = F.relu(layer(surface))
    pattern = surface.mean(1, keepdim=True)[..., 2 * scale :, 2 * scale :][..., : image.shape[-2], : image.shape[-1]]
    pattern = pattern - pattern.mean()
    return FAINT * pattern / pattern.abs().max()


@pytest.mark.parametrize("scale", PERIODS)
@pytest.mark.parametrize("name", ["chelsea", "rocket"])
def test_a_bicubic_enlargement_has_no_pattern(name: str, scale: int) -> None:
    """A photograph, and one whose sky leaves nothing else to see; all the periods of the scale are looked at."""
    peaks = checkerboard_peaks(enlarged(name, scale), scale)
    assert list(peaks) == PERIODS[scale]
    assert max(peaks.values()) < THRESHOLD


@pytest.mark.parametrize("name", ["chelsea", "grass", "gravel", "brick", "text", "page"])
def test_fine_texture_is_no_pattern(name: str) -> None:
    """Sharp photographs, regular brickwork and print: much power at high frequencies, none of it at single points."""
    for scale in PERIODS:
        assert max(checkerboard_peaks(picture(name), scale).values()) < THRESHOLD


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_faint_checkerboard_is_found(scale: int) -> None:
    """Two gray levels up and down, on an enlargement and on a texture: at period 2, and there only."""
    for image in (enlarged("chelsea", scale), picture("grass")):
        rows, columns = torch.arange(image.shape[-2]), torch.arange(image.shape[-1])
        board = FAINT * (1 - 2 * ((rows[:, None] + columns) % 2))
        peaks = checkerboard_peaks(to_levels(image + board), scale)
        assert peaks.pop(2) > 2 * THRESHOLD
        assert all(peak < THRESHOLD for peak in peaks.values())


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_pattern_of_transposed_convolutions_is_found(scale: int) -> None:
    """At every period of their stages, at most two gray levels strong."""
    image = enlarged("chelsea", scale)
    peaks = checkerboard_peaks(to_levels(image + transposed_pattern(image, scale)), scale)
    assert min(peaks.values()) > THRESHOLD


def test_columns_of_three_are_found() -> None:
    """Period 3 has its frequencies between those of 2 and 4."""
    image = enlarged("chelsea", 3)
    columns = FAINT * torch.cos(2 * torch.pi * torch.arange(image.shape[-1]) / 3)
    assert checkerboard_peaks(to_levels(image + columns), 3)[3] > 2 * THRESHOLD


def test_a_plain_surface_has_no_pattern_and_a_small_picture_no_spectrum() -> None:
    """A plain gives nothing; the smallest side follows from the scale."""
    assert checkerboard_peaks(torch.full((1, 3, 36, 36), 0.5), 4) == {2: 0.0, 4: 0.0}
    with pytest.raises(ImageError, match="needs 36 pixels a side"):
        checkerboard_peaks(torch.rand(1, 3, 35, 50), 4)


def test_the_spectrum_needs_neither_float64_nor_a_copy_of_the_picture() -> None:
    """Apple's GPUs have no float64, laptops little memory; the figures are those of float64 all the same."""
    image = torch.rand(1, 3, 1000, 256, generator=torch.Generator().manual_seed(0))

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            assert result.dtype not in (torch.float64, torch.complex128)
            own = result.untyped_storage().data_ptr() == image.untyped_storage().data_ptr()
            assert own or result.untyped_storage().nbytes() < image.nbytes / 4
            return result

    with Watch():
        spectrum = log_power(image, 64)
    plane = luma(image.double())[0, 0].numpy()
    window = np.outer(*2 * [torch.hann_window(64, dtype=torch.float64).numpy()])
    powers = [
        np.abs(np.fft.fft2((segment - segment.mean()) * window)) ** 2
        for top in range(0, 1000 - 63, 32)
        for segment in (plane[top : top + 64, left : left + 64] for left in range(0, 256 - 63, 32))
    ]
    expected = 10 * np.log10(np.array(powers) + (FLOOR * window.sum()) ** 2).mean(axis=0)
    assert np.allclose(spectrum.numpy(), expected, atol=1e-3)
