"""Results on another processor are the same within 1e-5, and the settings that imitate an older one take effect."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from percept_cli.core.images.decode import load_image
from percept_cli.core.inference.run import run_generator
from percept_cli.core.losses import FeatureTerm, PerceptualLoss, StyleTerm
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime

ROOT = Path(__file__).parent.parent
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
STYLES = ("starry-night", "udnie")
# What every x86 processor of the last fifteen years has, and another number of threads than the tests usually run on.
OLDER = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "3"}
pytestmark = pytest.mark.numerical


def convolution_code(capfd: pytest.CaptureFixture[str]) -> str:
    """The name of the code by which oneDNN convolves, with the instruction set in it: `jit:avx2`, `brgconv:avx512_core`."""
    capfd.readouterr()
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        torch.nn.functional.conv2d(torch.rand(1, 16, 64, 64), torch.rand(16, 16, 3, 3))
    lines = [line.split(",") for line in capfd.readouterr().out.splitlines()]
    (code,) = (line[line.index("convolution") + 1] for line in lines if "exec" in line and "convolution" in line)
    return code


@pytest.mark.skipif(
    not {"ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"} <= os.environ.keys(), reason="not run as an older processor"
)
def test_the_settings_for_an_older_processor_take_effect(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither torch's own code nor that of oneDNN uses newer instructions than they allow."""
    allowed = os.environ["ONEDNN_MAX_CPU_ISA"].lower()
    assert torch.backends.cpu.get_cpu_capability().lower() == os.environ["ATEN_CPU_CAPABILITY"]
    assert convolution_code(capfd).endswith(f":{allowed}")


def compute_results() -> dict[str, Tensor]:
    """Of a part of the demo photograph: restyled, enlarged, its features, and losses with their gradient."""
    pixels = load_image(ROOT / "docs" / "photo.jpg").pixels[..., 100:148, 100:164]
    results = {
        name: run_generator(RUNTIME.place_network(load_generator(name, "style").network), pixels, RUNTIME)
        for name in STYLES
    }
    with torch.inference_mode():
        for name in ("swift-x2-faithful", "swift-x4-natural"):
            results[name] = RUNTIME.place_network(load_generator(name, "upscaler").network)(pixels)
    style = StyleTerm(("relu1_2", "relu2_2"), typical=False)
    loss = PerceptualLoss({"feature": (FeatureTerm({"relu3_3": 1.0}), 1.0), "style": (style, 1.0)}, extractor="compact")
    assert loss.extractor is not None
    style.set_target([loss.extractor(pixels.flip(1))])
    output = (0.5 * pixels + 0.25).requires_grad_()
    total, parts = loss(output, pixels)
    total.backward()
    assert output.grad is not None
    return {
        **results,
        **{name: part.detach() for name, part in parts.items()},
        "gradient": output.grad / output.grad.abs().max(),
    }


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these settings are those of x86 processors")
def test_another_processor_gives_the_same_within_a_hundredth_of_a_gray_level(tmp_path: Path) -> None:
    """With instructions of 2008 and other threads: losses, gradients (of 1 at most) and enlarged pictures within 1e-5.

    Restyled ones are within 3e-5: their networks divide by statistics of the whole picture, which are sums. So the 8-bit
    levels are the same, but for values as near to the edge between two: fewer than one in 1,000.
    """
    program = (
        "import sys, torch\nfrom tests.test_processors import compute_results\n"
        "torch.save(compute_results(), sys.argv[1])\nprint(torch.backends.cpu.get_cpu_capability())"
    )
    environment = {**os.environ, **OLDER, "PYTHONPATH": str(ROOT), "ONEDNN_VERBOSE": "1"}
    command = [sys.executable, "-c", program, str(tmp_path / "older.pt")]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True).stdout
    assert said.endswith("DEFAULT\n") and "isa:Intel SSE4.1" in said
    older = torch.load(tmp_path / "older.pt")
    for name, expected in compute_results().items():
        torch.testing.assert_close(older[name], expected, atol=3e-5 if name in STYLES else 1e-5, rtol=1e-5)
        if expected.ndim == 4:
            changed = older[name].mul(255).round() != expected.mul(255).round()
            assert changed.float().mean() < 1e-3, name
