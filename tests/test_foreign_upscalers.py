"""Upscalers that others trained: recognized by their keys, the pixels of spandrel's own call, pickles never run."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from spandrel import ModelLoader
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn

from percept_cli.core.images.photo import Photo, floats
from percept_cli.core.inference.upscale import Upscaler, upscale
from percept_cli.core.pretrained.foreign_upscalers import ForeignUpscaler
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ModelError, UsageError

pytestmark = [pytest.mark.numerical, pytest.mark.filterwarnings("ignore:torch.meshgrid")]
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int | None]] = {
    # name: network, scale, radius of all its convolutions one after another (None: too much, or not all it sees)
    "ESRGAN x4": (lambda: ESRGAN(num_filters=8, num_blocks=2, scale=4), 4, 35),
    "ESRGAN x2 by unshuffling": (
        lambda: ESRGAN(in_nc=12, num_filters=8, num_blocks=1, scale=4, shuffle_factor=2), 2, 38,
    ),
    "ESRGAN, deep": (lambda: ESRGAN(num_filters=4, num_blocks=6, scale=2), 2, None),
    "Compact x4": (lambda: Compact(num_feat=8, num_conv=4, upscale=4), 4, 6),
    "Compact x3": (lambda: Compact(num_feat=8, num_conv=2, upscale=3), 3, 4),
    "Compact, gray": (lambda: Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=3, upscale=2), 2, 5),
    "SwinIR": (
        lambda: SwinIR(
            img_size=16, window_size=8, upscale=2, depths=[2], embed_dim=12, num_heads=[2], upsampler="pixelshuffledirect"
        ), 2, None,
    ),
}  # fmt: skip


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name][0]().eval().requires_grad_(False)


def real_esrgan_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The keys that BasicSR gives the tensors of a network of two enlargements."""
    last_block = max(int(found[1]) for key in state if (found := re.match(r"model\.1\.sub\.(\d+)\.weight", key)))
    names = {
        "model.0.": "conv_first.", f"model.1.sub.{last_block}.": "conv_body.", "model.3.": "conv_up1.",
        "model.6.": "conv_up2.", "model.8.": "conv_hr.", "model.10.": "conv_last.",
    }  # fmt: skip
    renamed = {}
    for key, tensor in state.items():
        key = re.sub(r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3.", key)
        for old, new in names.items():
            key = new + key.removeprefix(old) if key.startswith(old) else key
        renamed[key] = tensor
    return renamed


@pytest.mark.parametrize("name", NETWORKS)
def test_pixels_are_those_of_spandrels_own_call(name: str, tmp_path: Path) -> None:
    """For every kind; scale and radius are recognized, whatever the file is called."""
    theirs = network(name)
    path = tmp_path / "anything.pth"
    torch.save(theirs.state_dict(), path)
    loaded = load_generator(str(path), "upscaler")
    assert isinstance(loaded.network, ForeignUpscaler)
    assert (loaded.scale, loaded.network.receptive_radius) == NETWORKS[name][1:]
    assert loaded.architecture in loaded.note and f"enlarges {loaded.scale} times" in loaded.note

    pixels = torch.rand((1, 3, 22, 37), generator=torch.Generator().manual_seed(1))
    descriptor = ModelLoader("cpu").load_from_file(path)
    channels = [pixels] if descriptor.input_channels == 3 else list(pixels.split(1, dim=1))
    expected = torch.cat([descriptor(channel) for channel in channels], dim=1)  # type: ignore[operator]
    torch.testing.assert_close(loaded.network(pixels), expected)
    result = floats(upscale(Photo(pixels, bits=16), loaded.network, RUNTIME).pixels)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("wrapper", "keys"),
    [("params_ema", "BasicSR"), ("params", "BasicSR"), ("params-ema", "2018"), ("state_dict", "2018"), ("net", "2018"),
     (None, "2018"), (None, "BasicSR")],
)  # fmt: skip
def test_files_as_they_are_passed_around(wrapper: str | None, keys: str, tmp_path: Path) -> None:
    """Real-ESRGAN's releases hold `params_ema`, older ones the bare tensors under older names."""
    theirs = network("ESRGAN x4")
    state: dict = theirs.state_dict()
    state = real_esrgan_keys(state) if keys == "BasicSR" else state
    path = tmp_path / "RealESRGAN_x4plus.pth"
    torch.save({wrapper: state} if wrapper else state, path)
    loaded = load_generator(str(path), "upscaler", 4)
    pixels = torch.rand((1, 3, 10, 11), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loaded.network(pixels), theirs(pixels).clamp(0, 1))


def test_the_better_of_two_sets_of_weights_is_taken(tmp_path: Path) -> None:
    """`params_ema`, where a training file has both."""
    theirs = network("Compact x4")
    other = {key: torch.zeros_like(tensor) for key, tensor in theirs.state_dict().items()}
    torch.save({"params": other, "params_ema": theirs.state_dict()}, tmp_path / "both.pth")
    pixels = torch.rand(1, 3, 8, 8)
    loaded = load_generator(str(tmp_path / "both.pth"), "upscaler")
    torch.testing.assert_close(loaded.network(pixels), theirs(pixels).clamp(0, 1))


def test_half_precision_and_safetensors_files_too(tmp_path: Path) -> None:
    """As they are passed around for other programs; run in float32."""
    theirs = network("Compact x4").half()
    save_file(dict(theirs.state_dict()), tmp_path / "half.safetensors")
    loaded = load_generator(str(tmp_path / "half.safetensors"), "upscaler")
    assert {parameter.dtype for parameter in loaded.network.parameters()} == {torch.float32}
    pixels = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(loaded.network(pixels), theirs.float()(pixels).clamp(0, 1))


@pytest.mark.parametrize("name", ["ESRGAN x4", "ESRGAN x2 by unshuffling", "Compact x3", "Compact, gray"])
def test_tiles_equal_the_whole(name: str, tmp_path: Path) -> None:
    """Where the convolutions tell how far the network sees, within 1e-5 in float32."""
    torch.save(network(name).state_dict(), tmp_path / "file.pth")
    generator = RUNTIME.place_network(load_generator(str(tmp_path / "file.pth"), "upscaler").network)
    pixels = torch.rand((1, 3, 97, 110), generator=torch.Generator().manual_seed(2))
    upscaler = Upscaler(generator, RUNTIME, 50)
    assert upscaler.is_exact
    whole = upscaler.run(pixels)
    for tile in upscaler.plan(*pixels.shape[-2:], 50):
        rows, columns = tile.source.slices
        part = upscaler.run(pixels[..., rows, columns])
        rows, columns = tile.target.within(tile.source).scaled(upscaler.scale).slices
        torch.testing.assert_close(
            part[..., rows, columns], whole[..., *tile.target.scaled(upscaler.scale).slices], atol=1e-5, rtol=0
        )


def test_a_deep_network_gets_a_halo_that_leaves_nothing_to_see(tmp_path: Path) -> None:
    """Its tiles equal the whole within a gray level, and the user is told that it is not to the bit."""
    torch.save(network("ESRGAN, deep").state_dict(), tmp_path / "deep.pth")
    upscaler = Upscaler(
        RUNTIME.place_network(load_generator(str(tmp_path / "deep.pth"), "upscaler").network), RUNTIME, 60
    )
    steps = list(
        upscaler.enlarge(Photo(torch.rand((1, 3, 90, 110), generator=torch.Generator().manual_seed(3))), verify=True)
    )
    assert "not to the bit" in steps[0].note
    assert steps[-1].verification is not None and steps[-1].verification.passed


class Trap:
    """Makes a file when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return (self.path.touch, ())


@pytest.mark.parametrize(
    ("place", "suffix", "zipped"), [("beside", ".pth", True), ("instead", ".pt", False), ("instead", ".ckpt", True)]
)
def test_a_pickle_is_refused_and_never_run(place: str, suffix: str, zipped: bool, tmp_path: Path) -> None:
    """Beside good weights as well as alone, in files old and new."""
    trap = Trap(tmp_path / "trapped")
    content = {"params": network("Compact x4").state_dict(), "trap": trap} if place == "beside" else trap
    path = tmp_path / f"trap{suffix}"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="never runs"):
        load_generator(str(path), "upscaler")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    """It holds code, which spandrel's own loader would have torch run."""
    path = tmp_path / "program.pt"
    torch.jit.save(torch.jit.trace(network("Compact x4"), torch.rand(1, 3, 8, 8)), path)
    with pytest.raises(ModelError, match="not a weights file"):
        load_generator(str(path), "upscaler")


def test_another_scale_than_asked_for_is_refused(tmp_path: Path) -> None:
    """With the one it has."""
    path = tmp_path / "x4plus.pth"
    torch.save(network("ESRGAN x4").state_dict(), path)
    with pytest.raises(UsageError, match=r"x4plus\.pth enlarges 4 times, not 2: give --x4"):
        load_generator(str(path), "upscaler", 2)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"layer1.weight": torch.zeros(3)}, "not an upscaler that percept knows"),
        ({"body.0.weight": torch.zeros(3), "body.1.weight": torch.zeros(3)}, "damaged or a variant"),
        (Compact(num_feat=8, num_conv=1, upscale=1).state_dict(), "network for restoration"),
        (Compact(num_in_ch=4, num_out_ch=4, num_feat=8, num_conv=1, upscale=2).state_dict(), "RGB or gray"),
    ],
    ids=["unknown", "damaged", "restoration", "four channels"],
)
def test_what_is_no_upscaler_is_named(state: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    """One sentence on what it is instead."""
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=message):
        load_generator(str(tmp_path / "other.pth"), "upscaler")


def test_a_network_that_cannot_run_in_half_precision_runs_in_full(tmp_path: Path) -> None:
    """As spandrel says of the architecture."""
    torch.save(network("Compact x4").state_dict(), tmp_path / "file.pth")
    generator = load_generator(str(tmp_path / "file.pth"), "upscaler").network
    assert isinstance(generator, ForeignUpscaler)
    pixels = torch.rand(1, 3, 16, 16)
    full = generator(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(generator(pixels).float(), full)
        generator._descriptor.supports_bfloat16 = False
        assert torch.equal(generator(pixels), full)
