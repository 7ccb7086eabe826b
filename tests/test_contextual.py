"""The contextual loss is the paper's formula to rounding, whatever the blocks, in value and gradient; no NaN anywhere."""

import math

import pytest
import torch
from torch import Tensor

from percept_cli.core.losses import contextual_loss, contextual_similarity
from percept_cli.core.losses.contextual import CONTEXTUAL_DISTANCES
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def distances_of(x: Tensor, y: Tensor, distance: str) -> Tensor:
    """Of points x (N, C) from y (M, C), each pair by itself."""
    if distance == "cosine":
        x, y = x - y.mean(0), y - y.mean(0)
        return torch.stack([(1 - torch.cosine_similarity(point[None], y)) / 2 for point in x])
    difference = x[:, None] - y[None]
    return difference.abs().sum(2) if distance == "l1" else difference.square().sum(2)


def dense_similarity(x: Tensor, y: Tensor, bandwidth: float = 0.5, distance: str = "cosine") -> Tensor:
    """Mechrez et al. 2018, section 3.1, as written, for each image."""
    similarities = []
    for first, second in zip(x, y.expand(len(x), -1, -1, -1), strict=True):
        d = distances_of(first.flatten(1).T, second.flatten(1).T, distance)
        relative = d / (d.min(dim=1, keepdim=True).values + 1e-5)  # over the target's points
        w = torch.exp((1 - relative) / bandwidth)
        shares = w / w.sum(dim=1, keepdim=True)
        similarities.append(shares.max(dim=0).values.mean())  # for each target point its best
    return torch.stack(similarities)


# --- the formula


@pytest.mark.parametrize("bandwidth", [0.1, 0.5])
@pytest.mark.parametrize("distance", CONTEXTUAL_DISTANCES)
def test_value_and_gradients_are_those_of_the_dense_formula(distance: str, bandwidth: float) -> None:
    """For maps of different sizes, two images, and blocks that do not divide the rows."""
    x, y = noise(2, 6, 5, 7).requires_grad_(), noise(2, 6, 4, 3, seed=1).requires_grad_()
    wanted = dense_similarity(x, y, bandwidth, distance)
    found = contextual_similarity(x, y, bandwidth, distance, block_rows=8)

    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
    loss = contextual_loss(x, y, bandwidth, distance, block_rows=8)
    torch.testing.assert_close(loss, -wanted.log().mean(), rtol=1e-9, atol=0)
    gradients = zip(
        torch.autograd.grad(loss, (x, y)), torch.autograd.grad(-wanted.log().mean(), (x, y)), strict=True
    )  # fmt: skip
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("distance", CONTEXTUAL_DISTANCES)
def test_gradients_in_double_precision(distance: str) -> None:
    x, y = noise(1, 3, 4, 4).requires_grad_(), noise(1, 3, 3, 4, seed=1).requires_grad_()

    assert torch.autograd.gradcheck(lambda x, y: contextual_loss(x, y, 0.3, distance, block_rows=5), (x, y))


def test_a_target_that_wants_no_gradient_costs_none():
    x, y = noise(2, 4, 5, 5).requires_grad_(), noise(2, 4, 5, 5, seed=1)
    contextual_loss(x, y).backward()
    alone = x.grad.clone()

    x.grad = None
    y.requires_grad_()
    contextual_loss(x, y).backward()
    assert y.grad is not None
    torch.testing.assert_close(x.grad, alone)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_blocks_are_of_no_consequence(rows: int) -> None:
    x, y = noise(1, 8, 8, 8).requires_grad_(), noise(1, 8, 6, 6, seed=1)
    whole = contextual_loss(x, y)
    blocks = contextual_loss(x, y, block_rows=rows)

    torch.testing.assert_close(blocks, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (blocks, whole)), rtol=1e-9, atol=1e-15)


def test_the_distances_are_never_all_there_at_once():
    """No tensor that the forward or the backward pass makes is larger than the features or a block of rows."""
    side, channels, rows = 24, 4, 32
    points = side * side
    x, y = noise(1, channels, side, side).requires_grad_(), noise(1, channels, side, side, seed=1)
    sizes: list[int] = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            sizes.extend(part.numel() for part in torch.utils._pytree.tree_leaves(result) if isinstance(part, Tensor))
            return result

    with Sizes():
        contextual_loss(x, y, block_rows=rows).backward()
    assert max(sizes) == max(rows * points, points * (channels + 4)) < points**2 / 10


# --- what the definition says


def test_equal_points_are_fully_alike_wherever_they_are():
    """With a narrow bandwidth a map is like itself, in any order and with its points twice; the loss is then 0."""
    x = noise(1, 16, 6, 6)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(2))
    shuffled = x.flatten(2)[..., order].view(1, 16, 4, 9)

    for other in (x, shuffled, torch.cat([x, x], dim=3)):
        assert contextual_similarity(other, x, 0.1).item() == pytest.approx(1, abs=1e-9)
        assert contextual_loss(other, x, 0.1).item() == pytest.approx(0, abs=1e-9)


def test_the_target_is_what_has_to_be_found():
    """CX asks of each y for an x, not the reverse: an x that holds more than y is like it, one that lacks half is not."""
    all_of_it, half = noise(1, 16, 6, 6), noise(1, 16, 6, 6)[..., :3]

    more = contextual_similarity(all_of_it, half, 0.1, "l2").item()
    less = contextual_similarity(half, all_of_it, 0.1, "l2").item()
    assert more == pytest.approx(1, abs=1e-6)
    assert less < 0.6


def test_indistinguishable_targets_share_their_likeness():
    """M equal points y_j have 1/M of every x_i each, so CX = 1/M; a wide bandwidth makes all targets so."""
    x, y = noise(1, 5, 3, 3), noise(1, 5, 1, 1, seed=1).expand(1, 5, 2, 3)

    for distance in CONTEXTUAL_DISTANCES:
        assert contextual_similarity(x, y, distance=distance).item() == pytest.approx(1 / 6)
    assert contextual_similarity(x, noise(1, 5, 2, 3, seed=1), 1e6).item() == pytest.approx(1 / 6, rel=1e-3)


def test_two_points_by_hand():
    """x = 1 lies 1 from y_1 = 0 and 2 from y_2 = 3: d~ = 1 and 2, w = 1 and e^-2, shares 1 / (1 + e^-2) and the rest."""
    x, y = torch.tensor([1.0]).view(1, 1, 1, 1), torch.tensor([0.0, 3.0]).view(1, 1, 1, 2)

    assert contextual_similarity(x, y, 0.5, "l1").item() == pytest.approx(0.5, abs=1e-4)
    # A second point at 2 takes y_2 with the same share with which the first takes y_1.
    x = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    assert contextual_similarity(x, y, 0.5, "l1").item() == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-4)


def test_cosine_does_not_see_brightness_and_contrast():
    """Both sets moved by one vector and stretched by one factor are as they were."""
    x, y = noise(1, 8, 4, 4), noise(1, 8, 5, 5, seed=1)

    moved = contextual_similarity(3 * x + 7, 3 * y + 7)
    torch.testing.assert_close(moved, contextual_similarity(x, y))


def test_images_are_compared_each_with_its_own():
    """A batch gives what its images give alone; one target serves all of them."""
    x, y = noise(3, 4, 5, 5), noise(3, 4, 5, 5, seed=1)
    alone = torch.cat([contextual_similarity(x[i : i + 1], y[i : i + 1]) for i in range(3)])

    torch.testing.assert_close(contextual_similarity(x, y), alone)
    one = torch.cat([contextual_similarity(x[i : i + 1], y[:1]) for i in range(3)])
    torch.testing.assert_close(contextual_similarity(x, y[:1]), one)


# --- numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("distance", CONTEXTUAL_DISTANCES)
def test_equal_constant_and_huge_features_have_finite_losses_and_gradients(distance: str, dtype: torch.dtype) -> None:
    """Where a cosine is rounded beyond 1, a norm is 0 or a relative distance leaves the range of exp."""
    features = noise(1, 16, 8, 8, dtype=torch.float32)
    cases = {
        "equal": (features, features),
        "scaled": (features, 1e-3 * features),
        "constant": (torch.full_like(features, 0.3), features),
        "constant target": (features, torch.full_like(features, 0.3)),
        "both constant": (torch.zeros_like(features), torch.zeros_like(features)),
        "huge": (1e4 * features, 1e4 * features.flip(2)),
    }
    for name, (x, y) in cases.items():
        for bandwidth in (0.01, 0.5):
            leaf = x.to(dtype).requires_grad_()
            loss = contextual_loss(leaf, y.to(dtype), bandwidth, distance)
            loss.backward()
            assert torch.isfinite(loss) and loss + 1e-5 >= 0, name
            assert loss <= 2 * math.log(64) + 1e-3, name
            assert leaf.grad is not None and leaf.grad.dtype == dtype
            assert torch.isfinite(leaf.grad).all(), name


def test_bf16_products_are_close_to_float32():
    """The distances of bf16 features are rounded in proportion to themselves; logarithms and sums are float32."""
    x, y = (noise(1, 64, 16, 16, seed=seed, dtype=torch.float32).bfloat16().requires_grad_() for seed in (0, 1))
    half = contextual_loss(x, y, 0.1)
    whole = contextual_loss(x.float(), y.float(), 0.1)

    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(whole.item(), rel=5e-3)
    ours, exact = (torch.autograd.grad(loss, x)[0].float() for loss in (half, whole))
    assert torch.cosine_similarity(ours.flatten(), exact.flatten(), dim=0) > 0.99


# --- the authors' economies


def test_quadrants_are_the_corners_each_with_its_own():
    x, y = noise(1, 4, 6, 8), noise(1, 4, 6, 8, seed=1)
    parts = [slice(0, 3), slice(3, 6)], [slice(0, 4), slice(4, 8)]
    corners = [(slice(None), slice(None), rows, columns) for rows in parts[0] for columns in parts[1]]
    # l2 does not depend on the mean of a part.
    wanted = torch.cat([dense_similarity(x[corner], y[corner], distance="l2") for corner in corners])

    torch.testing.assert_close(contextual_similarity(x, y, distance="l2", quadrants=True), wanted)


def test_points_are_drawn_at_the_same_places_of_equal_maps():
    """A map is still like itself on some of its points, and all of them are the whole."""
    x, y = noise(1, 8, 10, 10), noise(1, 8, 10, 10, seed=1)
    draw = torch.Generator().manual_seed(3)

    assert contextual_similarity(x, x, 0.1, points=20, generator=draw).item() == pytest.approx(1, abs=1e-9)
    some = [contextual_similarity(x, y, points=20, generator=draw.manual_seed(seed)).item() for seed in (3, 3, 4)]
    assert some[0] == some[1] != some[2]
    torch.testing.assert_close(contextual_similarity(x, y, points=100), contextual_similarity(x, y))
    assert contextual_similarity(x, y[..., :4], points=20, generator=draw).item() > 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"y": torch.zeros(1, 3, 4, 4)}, "compares features"),
        ({"y": torch.zeros(3, 4, 4, 4)}, "compares features"),
        ({"y": torch.zeros(1, 4, 0, 4)}, "nothing to compare"),
        ({"y": torch.zeros(1, 4, 1, 4), "quadrants": True}, "nothing to compare"),
        ({"bandwidth": 0.0}, "bandwidth of 0.0"),
        ({"distance": "cosin"}, "Did you mean 'cosine'"),
        ({"points": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        contextual_loss(**{"x": torch.zeros(2, 4, 4, 4), "y": torch.zeros(1, 4, 4, 4), **change})
