"""The loop that optimizes an image: every optimizer and parametrization, the range of pixels, what is computed once."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from percept_cli.core.optimization.loop import optimize_image, penalize_range
from percept_cli.core.optimization.parametrization import Frequencies, Parametrization, Pixels
from percept_cli.errors import ImageError, UsageError
from tests.test_checkpoints import BrokenBackward


@pytest.mark.parametrize(
    ("optimizer", "space"),
    [
        ("adam", None),
        ("lbfgs", None),
        ("sgd", Pixels()),
        ("adam", Frequencies(8, 9)),
        ("lbfgs", Frequencies(8, 9)),
    ],
    ids=["adam", "lbfgs", "sgd", "adam-frequencies", "lbfgs-frequencies"],
)
def test_an_image_becomes_what_the_loss_asks_for(optimizer: str, space: Parametrization | None) -> None:
    """In both spaces, by every optimizer, without touching the image it began with; every image is one a file can hold."""
    start, target = torch.rand((2, 1, 3, 8, 9), generator=torch.Generator().manual_seed(0))
    before = start.clone()

    def distance(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (image - target).square().sum()
        return loss, {"distance": loss}

    # A spectrum's numbers are larger than pixels: they are of size 1. Adam on pixels has rates of its own.
    size = 0.5 if isinstance(space, Frequencies) else 0.1
    rates = None if optimizer == "lbfgs" or space is None else [size * (1 - step / 120) for step in range(120)]
    steps = list(optimize_image(start, distance, 120, optimizer, parametrization=space, rates=rates))
    assert [step.index for step in steps] == list(range(1, 121))
    assert steps[-1].total < 0.03 * steps[0].total
    assert steps[0].parts["distance"] == pytest.approx(steps[0].total)
    assert torch.equal(start, before)
    assert all(step.image.min() >= 0 and step.image.max() <= 1 for step in steps)
    if space is None:
        torch.testing.assert_close(steps[-1].image, target, atol=0.01, rtol=0)


def test_a_loss_that_asks_for_the_impossible_gets_an_image_in_range() -> None:
    """Pixels asked to be 5 become 1."""

    def brighter(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (image - 5).square().mean()
        return loss, {}

    for optimizer in ("adam", "lbfgs"):
        *_, last = optimize_image(torch.full((1, 3, 4, 4), 0.9), brighter, 20, optimizer)
        assert torch.equal(last.image, torch.ones(1, 3, 4, 4))


def test_lbfgs_does_not_compute_a_place_twice() -> None:
    """The line search ends where the next step begins: hardly more evaluations than steps."""
    places: list[Tensor] = []
    target = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(0))

    def distance(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        places.append(image.detach().clone())
        return ((image - target) ** 4).sum(), {}

    list(optimize_image(torch.full((1, 3, 8, 8), 0.5), distance, 30, "lbfgs"))
    assert len(places) <= 40
    assert all(not torch.equal(place, other) for place, other in itertools.pairwise(places))


def test_sgd_forgets_its_momentum_where_the_rate_changes() -> None:
    """Down a slope of 1 steps grow by momentum, 1, 1.9, ..., until another rate begins with a bare step again."""

    def slope(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return image.sum(), {}

    rates = [0.01, 0.01, 0.001, 0.001]
    values = [step.image[0, 0, 0, 0].item() for step in optimize_image(
        torch.full((1, 3, 2, 2), 0.9), slope, 4, "sgd", rates=rates)]  # fmt: skip
    moves = [before - after for before, after in zip([0.9, *values], values, strict=False)]
    assert moves == pytest.approx([0.01, 0.019, 0.001, 0.0019], rel=1e-3)
    with pytest.raises(UsageError, match="rate for each step"):
        next(optimize_image(torch.zeros(1, 3, 2, 2), slope, 1, "sgd"))


def test_the_range_penalty_shows_the_loss_what_a_file_can_hold() -> None:
    """Beyond [0, 1] the loss sees the end of the range, the gradient passes, and the excess costs its square."""
    image = torch.tensor([[[[1.5, 0.5], [-0.5, 1.0]]]], requires_grad=True)
    seen = []

    def loss(given: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(given.detach().clone())
        return given.sum(), {"sum": given.sum()}

    total, parts = penalize_range(loss, 10.0)(image)
    assert seen[0].flatten().tolist() == [1.0, 0.5, 0.0, 1.0]
    assert parts["range"].item() == pytest.approx(10 * (0.25 + 0.25) / 4)
    assert total.item() == pytest.approx(2.5 + parts["range"].item())
    total.backward()
    assert image.grad is not None
    assert image.grad.flatten().tolist() == pytest.approx([1 + 20 * 0.5 / 4, 1, 1 - 20 * 0.5 / 4, 1])


@pytest.mark.parametrize("factor", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    ("optimizer", "space"),
    [("adam", Pixels()), ("lbfgs", Pixels()), ("sgd", Pixels()), ("adam", Frequencies(8, 9)), ("lbfgs", Frequencies(8, 9))],
)  # fmt: skip
def test_a_gradient_or_a_loss_that_is_not_finite_makes_no_picture(
    optimizer: str, space: Parametrization, factor: float
) -> None:
    """The step that meets it ends the work of this image with a sentence; pictures before it are as they were."""
    for broken in ("gradient", "loss"):
        calls = itertools.count(1)

        def distance(
            image: Tensor, broken: str = broken, calls: Iterator[int] = calls
        ) -> tuple[Tensor, dict[str, Tensor]]:
            if next(calls) > 2:
                image = BrokenBackward.apply(image, factor) if broken == "gradient" else image * factor
            return image.square().mean(), {}

        steps = optimize_image(torch.rand(1, 3, 8, 9), distance, 8, optimizer, parametrization=space, rates=[0.1] * 8)
        assert torch.isfinite(next(steps).image).all()
        with pytest.raises(ImageError, match=r"is not a finite number at step \d\. .*--precision fp32"):
            list(steps)
