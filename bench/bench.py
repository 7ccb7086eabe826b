"""How fast percept is, as ratios taken within one run: `make bench`.

Each pair is timed in turns (A B A B ...), so that a machine whose speed drifts does so for both; medians are printed.

    python bench/bench.py step        a training step on VGG-16 against the textbook loop on the same networks
    python bench/bench.py restyle     one megapixel through Johnson's network against the textbook forward pass
    python bench/bench.py upscale     512² to 2048² by swift against the same network in fp32, NCHW, as a whole
    python bench/bench.py extractor   compact against VGG-19, by cost and by time
    python bench/bench.py precision   bf16 against fp32 results of the shipped styles, in gray levels
    python bench/bench.py startup     `percept stylize` from typing to file against importing torch and torchvision
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.data.photos import sample_photos
from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.generators.style import StyleGenerator
from percept_cli.core.generators.upscale import SwiftGenerator
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo, resize_image
from percept_cli.core.inference.run import run_generator
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.losses.style import StyleLossOptions, create_style_loss
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.core.runtime import Runtime, choose_runtime

VGG16_STYLE = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
STEP_BATCH, STEP_SIZE = 4, 256


def time_pair(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of each, taken in turns after one warm-up of both."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, taken in zip((first, second), times, strict=True):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            started = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def matrix_rate(runtime: Runtime, dtype: torch.dtype) -> float:
    """The processor's own floating-point operations a second, by a large matrix product."""
    side = 4096 if runtime.device.type == "cuda" else 2048
    left = torch.randn(side, side, device=runtime.device, dtype=dtype)
    seconds = min(time_pair(lambda: left @ left, lambda: left @ left, 5))
    return 2 * side**3 / seconds


def count_operations(network: nn.Module, run: Callable[[], object]) -> int:
    """Floating-point operations of the convolutions of one forward pass (2 a multiply-add)."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * module.weight[0].numel()  # type: ignore[index, operator, union-attr]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    run()
    for hook in hooks:
        hook.remove()
    return total


TEXTBOOK_TAPS = {3: "relu1_2", 8: "relu2_2", 15: "relu3_3", 22: "relu4_3"}


class TextbookVGG(nn.Module):
    """VGG-16 as tutorials have it: all of its features run, taps picked out by index."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg16

        self.features = vgg16(weights=None).features.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        taps = {}
        for index, layer in enumerate(self.features):
            images = layer(images)
            if index in TEXTBOOK_TAPS:
                taps[TEXTBOOK_TAPS[index]] = images.clone()  # the next ReLU works in place
        return taps


def textbook_generator() -> nn.Module:
    """Johnson's network with torch's own instance norm after every convolution and standard memory layout."""
    generator = StyleGenerator(1.0, "instance")
    for module in generator.modules():
        if hasattr(module, "norm"):
            module.norm = nn.InstanceNorm2d(module.norm.weight.numel(), affine=True)  # type: ignore[union-attr, operator]
    return generator


def bench_step(runtime: Runtime, rounds: int) -> dict[str, object]:
    """One update of Johnson's network (1.68 M parameters) on VGG-16 to relu4_3, batch 4 at 256²."""
    photographs = torch.rand(STEP_BATCH, 3, STEP_SIZE, STEP_SIZE)
    style = torch.rand(1, 3, STEP_SIZE, STEP_SIZE)

    ours = runtime.place_network(StyleGenerator(1.0))
    extractor = FeatureExtractor(create_architecture("vgg16"), VGG16_STYLE)
    textbook_vgg = TextbookVGG().to(runtime.device)
    extractor.load_weights({f"features.{k}": v for k, v in textbook_vgg.features.state_dict().items()}, "textbook")
    extractor = runtime.freeze(extractor)
    placed = runtime.place(photographs)
    asked = StyleLossOptions(content_layers=["relu3_3"], style_layers=VGG16_STYLE, style_scales=(1,))  # as the textbook
    loss = create_style_loss(extractor, [runtime.place(style)], placed, asked)
    optimizer = torch.optim.Adam(ours.parameters())

    def our_step() -> None:
        with runtime.autocast():
            restyled = ours(placed)
        total, _ = loss(restyled, placed)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    theirs = textbook_generator().to(runtime.device)
    their_optimizer = torch.optim.Adam(theirs.parameters())
    images, mean = (
        photographs.to(runtime.device),
        torch.tensor((0.485, 0.456, 0.406), device=runtime.device).view(1, 3, 1, 1),
    )
    std = torch.tensor((0.229, 0.224, 0.225), device=runtime.device).view(1, 3, 1, 1)

    def gram(features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        flat = features.view(count, channels, height * width)
        return flat.bmm(flat.transpose(1, 2)) / (channels * height * width)

    grams = {name: gram(value) for name, value in textbook_vgg((style.to(runtime.device) - mean) / std).items()}

    def textbook_step() -> None:
        their_optimizer.zero_grad()
        restyled = theirs(images)
        features, targets = textbook_vgg((restyled - mean) / std), textbook_vgg((images - mean) / std)
        total = 1e5 * F.mse_loss(features["relu3_3"], targets["relu3_3"])
        for name, value in features.items():
            total = total + 1e10 * F.mse_loss(gram(value), grams[name].expand(len(images), -1, -1))
        total.backward()
        their_optimizer.step()

    forward = count_operations(ours, lambda: ours(placed)) + count_operations(extractor, lambda: extractor(placed))
    content = count_operations(extractor, lambda: extractor(placed, ("relu3_3",)))
    # Gradients: for the generator by input and by weight, for the frozen extractor by input alone.
    generator_share = count_operations(ours, lambda: ours(placed))
    operations = 3 * generator_share + 2 * (forward - generator_share) + content
    fast, slow = time_pair(our_step, textbook_step, rounds)
    return {
        "ratio": slow / fast, "percept_s": fast, "textbook_s": slow,
        "share_of_matrix_rate": operations / fast / matrix_rate(runtime, runtime.dtype),
        "textbook_share": operations / slow / matrix_rate(runtime, torch.float32),
    }  # fmt: skip


def bench_restyle(runtime: Runtime, rounds: int) -> dict[str, object]:
    """1024² through Johnson's network of 1.68 M parameters, from pixels to pixels."""
    torch.manual_seed(0)
    ours = runtime.place_network(StyleGenerator(1.0).eval().requires_grad_(False))
    theirs = textbook_generator().eval().requires_grad_(False).to(runtime.device)
    pixels = torch.rand(1, 3, 1024, 1024)

    def our_pass() -> Tensor:
        with torch.inference_mode():
            return run_generator(ours, pixels, runtime)

    def textbook_pass() -> Tensor:
        with torch.no_grad():
            return theirs(pixels.to(runtime.device)).cpu()

    operations = count_operations(ours, our_pass)
    fast, slow = time_pair(our_pass, textbook_pass, rounds)
    rate = matrix_rate(runtime, runtime.dtype)
    return {
        "ratio": slow / fast, "percept_s": fast, "textbook_s": slow, "share_of_matrix_rate": operations / fast / rate
    }  # fmt: skip


def bench_upscale(runtime: Runtime, rounds: int) -> dict[str, object]:
    """512² to 2048² by `swift`, from pixels to levels in tiles: seconds, and the share of the matrix rate reached."""
    network = runtime.place_network(SwiftGenerator(4).eval().requires_grad_(False))
    plain = SwiftGenerator(4).eval().requires_grad_(False).to(runtime.device)
    photo = Photo(torch.rand(1, 3, 512, 512))

    def textbook_pass() -> Tensor:
        with torch.no_grad():
            return plain(photo.pixels.to(runtime.device)).cpu()

    operations = count_operations(plain, textbook_pass)
    fast, slow = time_pair(lambda: upscale(photo, network, runtime), textbook_pass, rounds)
    rate = matrix_rate(runtime, runtime.dtype)
    return {
        "ratio": slow / fast, "percept_s": fast, "textbook_s": slow, "share_of_matrix_rate": operations / fast / rate
    }  # fmt: skip


def bench_extractor(runtime: Runtime, rounds: int) -> dict[str, object]:
    """compact against VGG-19 tapped at one layer, forward and gradient, batch 4 at 256²: cost and time ratios."""
    images = runtime.place(torch.rand(STEP_BATCH, 3, STEP_SIZE, STEP_SIZE))
    results: dict[str, object] = {}
    for layer in ("relu1_2", "relu2_2", "relu3_1", "relu3_4"):
        small = runtime.freeze(create_extractor("compact", [layer]))
        large = runtime.freeze(create_extractor("vgg19", [layer], "random"))

        def run(extractor: FeatureExtractor, layer: str = layer) -> None:
            pixels = images.clone().requires_grad_()
            extractor(pixels)[layer].float().square().mean().backward()

        cost = count_operations(large, lambda e=large: run(e)) / count_operations(small, lambda e=small: run(e))
        fast, slow = time_pair(lambda e=small: run(e), lambda e=large: run(e), rounds)
        results[layer] = {"cost_ratio": cost, "time_ratio": slow / fast}
    return results


def bench_precision(runtime: Runtime, rounds: int) -> dict[str, object]:
    """Gray levels between the bf16 and the fp32 result of each shipped style, on three sample photographs."""
    exact, fast = choose_runtime(str(runtime.device), "fp32"), choose_runtime(str(runtime.device), "bf16")
    results: dict[str, object] = {}
    for model in shipped_models().values():
        if model.role != "style":
            continue
        generator = load_generator(model.name, "style").network
        mean, worst, beyond = 0.0, 0.0, 0.0
        photos = [path for path in sample_photos() if path.stem in ("astronaut", "chelsea", "coffee")]
        for path in photos:
            pixels = load_image(path).pixels
            with torch.inference_mode():
                reference = run_generator(exact.place_network(generator), pixels, exact)
                result = run_generator(fast.place_network(generator), pixels, fast)
            levels = (result.mul(255).round() - reference.mul(255).round()).abs()
            mean, worst = mean + levels.mean().item() / len(photos), max(worst, levels.max().item())
            beyond += (levels > 5).float().mean().item() / len(photos)
        results[model.name] = {"mean_levels": mean, "worst_levels": worst, "share_beyond_5": beyond}
    return results


def bench_startup(runtime: Runtime, rounds: int) -> dict[str, object]:
    """Whole processes: restyling one 512² photograph against `import torch, torchvision`."""
    model = next(model.name for model in shipped_models().values() if model.role == "style")
    with tempfile.TemporaryDirectory() as folder:
        photo = load_image(next(path for path in sample_photos() if path.stem == "astronaut"))
        source = Path(folder) / "photo.png"
        save_image(photo.with_pixels(resize_image(photo.pixels, 512, 512)), source)
        command = [sys.executable, "-m", "percept_cli", "stylize", str(source), "-m", model, "-q", "--overwrite"]
        imports = [sys.executable, "-c", "import torch, torchvision"]
        slow, base = time_pair(
            lambda: subprocess.run(command, check=True), lambda: subprocess.run(imports, check=True), rounds
        )
    return {"ratio": slow / base, "stylize_s": slow, "import_s": base}


BENCHES = {
    "step": bench_step,
    "restyle": bench_restyle,
    "upscale": bench_upscale,
    "extractor": bench_extractor,
    "precision": bench_precision,
    "startup": bench_startup,
}


def main() -> None:
    """Runs the benches named, or all, and prints one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="|".join(BENCHES), help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    runtime = choose_runtime(given.device, given.precision)
    print(
        json.dumps(
            {"bench": "runtime", "runs": runtime.reason, "threads": torch.get_num_threads(), "torch": torch.__version__}
        )
    )
    for name in given.names or BENCHES:
        print(json.dumps({"bench": name, **_rounded(BENCHES[name](runtime, given.rounds))}), flush=True)


def _rounded(figures: dict) -> dict:
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, 4) if isinstance(value, float) else value
        for key, value in figures.items()
    }


if __name__ == "__main__":
    main()
