"""A style is compared at several sizes of the same pictures, each with an equal share; strokes grow with the painting."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.data.photos import find_photos
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.tiled import TiledExtractor
from percept_cli.core.images.resize import resize_bicubic
from percept_cli.core.losses import FeatureTerm, PerceptualLoss, TotalVariationTerm
from percept_cli.core.losses.style import StyleLossOptions, create_style_loss, scales_left_out
from percept_cli.core.losses.style_losses import STYLE_BALANCE, STYLE_LOSSES, parse_scales, style_scales
from percept_cli.core.losses.weighted import shrink
from percept_cli.core.optimization import style_transfer
from percept_cli.core.optimization.style_transfer import StyleOptions, optimize_style
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.strokes import check_stroke, painting_side
from percept_cli.core.training.runs.checkpoints import load_checkpoint, save_checkpoint
from percept_cli.core.training.runs.run import Run
from percept_cli.core.training.style import train_style
from percept_cli.errors import UsageError
from tests.test_train_style import RUNTIME, SMALL
from tests.test_training import assert_same_bits

pytestmark = pytest.mark.numerical
STYLE, CONTENT = ("relu1_1", "relu2_1"), ("relu2_2",)


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return RUNTIME.freeze(create_extractor("compact", [*STYLE, *CONTENT], "random")).double()


def pictures(count: int, height: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, 3, height, width), generator=generator, dtype=torch.float64)


def smooth(count: int, height: int, width: int, seed: int) -> Tensor:
    """As different from noise and from each other as photographs are."""
    return F.interpolate(pictures(count, 6, 7, seed), size=(height, width), mode="bicubic").clamp(0, 1)


PAINTING, PHOTOGRAPHS, RESULT = pictures(1, 70, 81, 1), smooth(2, 66, 83, 2), pictures(2, 66, 83, 3)


def options(**given: object) -> StyleLossOptions:
    return StyleLossOptions(**{"content_layers": CONTENT, "style_layers": STYLE, "points": None, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("scaling", ["typical", "paper"])
@pytest.mark.parametrize("loss", STYLE_LOSSES)
def test_a_scale_is_the_loss_of_pictures_that_were_shrunk_before(
    loss: str, scaling: str, extractor: FeatureExtractor
) -> None:
    """Part by part: half of 66 x 83 pixels is 33 x 41; the painting and the photographs of the calibration alike."""
    layers = STYLE if loss == "gram" else STYLE[1:]
    asked = options(loss=loss, scaling=scaling, style_scales=(1, 2, 3), style_layers=layers)
    _, parts = create_style_loss(extractor, [PAINTING], PHOTOGRAPHS, asked)(RESULT, PHOTOGRAPHS)
    for scale, name in ((1, "style"), (2, "style.half"), (3, "style.third")):
        painting, photographs, result = (
            resize_bicubic(images, images.shape[-2] // scale, images.shape[-1] // scale)
            for images in (PAINTING, PHOTOGRAPHS, RESULT)
        )
        alone = create_style_loss(extractor, [painting], photographs, replace(asked, style_scales=(1,)))
        _, expected = alone(result, photographs)
        for layer in layers:
            torch.testing.assert_close(parts[f"{name}.{layer}"], expected[f"style.{layer}"] / 3)


def test_shrunk_pictures_are_those_of_pytorchs_antialiased_bicubic() -> None:
    """Away from the edges, which it treats otherwise; to whole pixels, and at least in float32."""
    small = shrink(PHOTOGRAPHS, 4)
    assert small.shape == (2, 3, 16, 20)
    theirs = F.interpolate(PHOTOGRAPHS, size=(16, 20), mode="bicubic", antialias=True)
    torch.testing.assert_close(small[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2])
    assert shrink(PHOTOGRAPHS.bfloat16(), 2).dtype == torch.float32
    assert shrink(PHOTOGRAPHS, 1) is PHOTOGRAPHS


@pytest.mark.parametrize("scales", [(1,), (1, 2, 4), (2, 4)])
def test_each_scale_has_an_equal_share_of_the_weight(scales: tuple[int, ...], extractor: FeatureExtractor) -> None:
    """Untouched photographs are at 1.0 of the style at every size, and so in sum."""
    loss = create_style_loss(extractor, [PAINTING], PHOTOGRAPHS, options(style_scales=scales, style_weight=0.5))
    _, parts = loss(PHOTOGRAPHS, PHOTOGRAPHS)
    prefixes = {1: "style.", 2: "style.half.", 4: "style.quarter."}
    names = [f"{prefixes[scale]}{layer}" for scale in scales for layer in STYLE]
    assert list(parts) == ["content.relu2_2", *names, "tv"]
    for scale in scales:
        share = sum(parts[f"{prefixes[scale]}{layer}"].item() for layer in STYLE)
        assert share == pytest.approx(0.5 * STYLE_BALANCE / len(scales), rel=1e-6)


def test_every_scale_has_a_name() -> None:
    named = create_style_loss(
        create_extractor("compact", [*STYLE, *CONTENT], "random"), [torch.rand(1, 3, 128, 128)],
        torch.rand(1, 3, 128, 128), options(style_scales=range(1, 9)),
    )  # fmt: skip
    _, parts = named(torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))
    names = [name.removesuffix(".relu1_1") for name in parts if name.startswith("style.") and name.endswith("relu1_1")]
    words = ["half", "third", "quarter", "fifth", "sixth", "seventh", "eighth"]
    assert names == ["style", *(f"style.{word}" for word in words)]


def test_the_gradient_is_that_of_finite_differences(extractor: FeatureExtractor) -> None:
    """Through the shrinking too. Steps are small, since ReLUs have kinks."""
    direction = pictures(1, 66, 83, 5) - 0.5
    gradients = []
    for scales in ((1,), (2,), (4,), (1, 2, 4)):
        asked = options(style_scales=scales, content_weight=0, tv_weight=0)
        loss = create_style_loss(extractor, [PAINTING], PHOTOGRAPHS, asked)
        image = RESULT[:1].clone().requires_grad_()
        gradient = torch.autograd.grad(loss(image, PHOTOGRAPHS[:1])[0], image)[0]
        ahead, behind = (loss(RESULT[:1] + step * direction, PHOTOGRAPHS[:1])[0] for step in (1e-7, -1e-7))
        assert (gradient * direction).sum().item() == pytest.approx((ahead - behind).item() / 2e-7, rel=1e-4)
        gradients.append(gradient)
    torch.testing.assert_close(gradients[-1], sum(gradients[:-1]) / 3)


def test_tiles_of_all_sizes_equal_the_whole(extractor: FeatureExtractor) -> None:
    results = []
    for version in (extractor, TiledExtractor(extractor, 24)):
        loss = create_style_loss(version, [PAINTING], PHOTOGRAPHS, options(style_scales=(1, 2, 4)))
        image = RESULT.clone().requires_grad_()
        total, parts = loss(image, PHOTOGRAPHS)
        results.append((parts, torch.autograd.grad(total, image)[0]))
    torch.testing.assert_close(*results)


class Counted(torch.nn.Module):
    """An extractor that writes down the sizes and the layers it was called with."""

    def __init__(self, extractor: FeatureExtractor):
        super().__init__()
        self.extractor = extractor
        self.calls: list[tuple[int, tuple[str, ...]]] = []

    def forward(self, images: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        self.calls.append((images.shape[-1], tuple(layers)))
        return self.extractor(images, layers)


def test_features_are_computed_once_for_each_size_that_a_term_compares(extractor: FeatureExtractor) -> None:
    """With the layers of the terms of that size alone; any term can be of a smaller size, with its compared images."""
    half = FeatureTerm({"relu2_1": 1.0}, typical=False)
    half.shrinking = 2
    smooth = TotalVariationTerm(typical=False)
    smooth.shrinking = 2
    counted = Counted(extractor)
    loss = PerceptualLoss(
        {"content": (FeatureTerm({"relu2_2": 1.0}), 1.0), "small.content": (half, 3.0), "small.tv": (smooth, 1.0)},
        counted,  # type: ignore[arg-type]
    )
    targets = loss.target_features(PHOTOGRAPHS)
    counted.calls.clear()
    _, parts = loss(RESULT, PHOTOGRAPHS, targets)

    assert sorted(counted.calls) == [(41, ("relu2_1",)), (83, ("relu2_2",))]
    assert loss.layers == ("relu2_2",)
    small, compared = shrink(RESULT, 2), shrink(PHOTOGRAPHS, 2)
    made, target = (extractor(images, ["relu2_1"])["relu2_1"] for images in (small, compared))
    torch.testing.assert_close(parts["small.content.relu2_1"], 3 * (made - target).square().mean())
    torch.testing.assert_close(parts["small.tv"], TotalVariationTerm(typical=False)(small, {}, compared, {})[""])


@pytest.mark.parametrize(
    ("painting", "photograph", "used"), [(64, 64, (1, 2, 4)), (63, 200, (1, 2)), (200, 31, (1,)), (10, 10, (1,))]
)
def test_sizes_below_16_pixels_are_left_out(
    painting: int, photograph: int, used: tuple[int, ...], extractor: FeatureExtractor
) -> None:
    """Of the painting or of the photograph; the others share the whole weight."""
    photographs = smooth(1, photograph + 9, photograph, 2)
    loss = create_style_loss(
        extractor, [pictures(1, painting, painting + 9, 1)], photographs, options(style_scales=(1, 2, 4))
    )
    assert loss.shrinkings == used
    _, parts = loss(photographs, photographs)
    total = sum(part.item() for name, part in parts.items() if name.startswith("style"))
    assert total == pytest.approx(STYLE_BALANCE, rel=1e-6)

    told = scales_left_out((1, 2, 4), extractor, [painting, photograph])
    assert bool(told) == (used != (1, 2, 4))
    assert not told or f"{','.join(map(str, used))} is used" in told


def test_a_size_that_leaves_too_little_for_all_is_replaced_by_the_full_one(extractor: FeatureExtractor) -> None:
    small = pictures(1, 40, 40, 1)
    assert create_style_loss(extractor, [small], small, options(style_scales=(4, 8))).shrinkings == (1,)


def test_coarse_stages_of_an_optimization_have_fewer_sizes(
    extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first picture is 40 pixels, of which a quarter would be 10."""
    monkeypatch.setattr(style_transfer, "COARSEST", 40)
    asked = StyleOptions(steps=3, content_layers=CONTENT, style_layers=STYLE)
    steps = list(
        optimize_style(
            pictures(1, 80, 90, 1).float(), [pictures(1, 64, 64, 2).float()], extractor.float(), RUNTIME, asked
        )
    )
    extractor.double()
    sizes = {step.image.shape[-2]: [name for name in step.parts if name.endswith("relu1_1")] for step in steps}
    assert sizes == {
        40: ["style.relu1_1", "style.half.relu1_1"],
        80: ["style.relu1_1", "style.half.relu1_1", "style.quarter.relu1_1"],
    }


def test_the_sizes_of_a_loss_are_its_own_unless_given() -> None:
    """In the papers all is of full size."""
    assert style_scales(None, "gram", typical=True) == (1, 2, 4)
    assert style_scales(None, "contextual", typical=True) == style_scales(None, "gram", typical=False) == (1,)
    assert style_scales((4, 1), "contextual", typical=False) == parse_scales("4, 1") == (1, 4)


@pytest.mark.parametrize("text", ["", "0", "1,1", "9", "1.5", "-2", "1,,2", "half"])
def test_other_sizes_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(
        UsageError, match=f"--style-scales {text}: give different whole numbers from 1 to 8, as in 1,2,4"
    ):
        parse_scales(text)


def test_sizes_from_python_are_checked_too(extractor: FeatureExtractor) -> None:
    with pytest.raises(UsageError, match="--style-scales 1,1: give different whole numbers"):
        create_style_loss(extractor, [PAINTING], PHOTOGRAPHS, options(style_scales=(1, 1)))


def test_a_checkpoint_of_an_earlier_version_is_of_full_size(photos: Path, style_picture: Path, tmp_path: Path) -> None:
    """It goes on to the same bits with --style-scales 1, and is refused with the sizes of today, which are told."""
    full = replace(SMALL, style_scales=(1,))
    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    list(train_style([style_picture], find_photos([photos]), Run.open(whole, RUNTIME), full))
    run = Run.open(stopped, RUNTIME)
    next(train_style([style_picture], find_photos([photos]), run, full))
    older = {name: value for name, value in run.settings.items() if name != "style_scales"}
    assert len(older) == len(run.settings) - 1
    save_checkpoint(run.checkpoint, run.training.state(), older)

    resumed = Run.open(stopped, RUNTIME, resume=True)
    with pytest.raises(UsageError, match=r"other settings \(style_scales was \[1\], now \[1, 2, 4\]\)"):
        train_style([style_picture], find_photos([photos]), resumed, SMALL)
    list(train_style([style_picture], find_photos([photos]), Run.open(stopped, RUNTIME, resume=True), full))
    assert_same_bits(stopped, whole)
    assert load_checkpoint(run.checkpoint, older)["step"] == SMALL.steps


# --- strokes


@pytest.mark.parametrize("stroke", [0.2, 8.5, float("nan"), -1, float("inf")])
def test_other_strokes_are_refused_in_a_sentence(stroke: float) -> None:
    with pytest.raises(UsageError, match=r"--stroke .+: give 0.25 to 8; 2 makes strokes twice as large"):
        check_stroke(stroke)
    assert check_stroke(0.25) == 0.25 and check_stroke(8) == 8


def test_strokes_grow_with_the_painting() -> None:
    """It needs at least 32 pixels."""
    assert painting_side(256, 1) == 256 and painting_side(256, 1.5) == 384 and painting_side(64, 0.5) == 32
    with pytest.raises(UsageError, match=r"--stroke 0.25 at --style-size 100 makes the painting 25 pixels small"):
        painting_side(100, 0.25)
