"""Muon orthogonalizes what it steps along; what is not a convolution inside the network gets Adam's step."""

import copy

import pytest
import torch
import torch.distributed
from torch import nn

from percept_cli.core.training.optimizers import Muon, create_optimizer, orthogonalized

pytestmark = pytest.mark.numerical


class Chain(nn.Module):
    """Ends and an inner convolution, named as in our generators."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3))
        self.last = nn.Conv2d(8, 3, 3)


def with_gradients(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_orthogonalized_matrices_have_singular_values_of_about_1() -> None:
    """The published quintic brings them between 0.6 and 1.3, wide or tall, and keeps the directions."""
    torch.manual_seed(0)
    for shape in ((16, 144), (144, 16)):
        matrix = torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        result = orthogonalized(matrix)
        found = torch.linalg.svdvals(result)
        assert found.min() > 0.5 and found.max() < 1.3
        # The nearest orthogonal matrix, U Vᵀ, lies in its direction.
        assert torch.cosine_similarity(result.flatten(), (left @ right).flatten(), dim=0) > 0.95


def test_ends_and_biases_get_adams_step() -> None:
    """To rounding what torch's Adam does, and the inner weights something else."""
    torch.manual_seed(0)
    network = Chain()
    other = copy.deepcopy(network)
    muon, adam = Muon(network), torch.optim.Adam(other.parameters(), lr=1e-2, betas=(0.9, 0.99))
    for step in range(3):
        for group in muon.param_groups:
            group["lr"] = 1e-2
        with_gradients(network, step)
        with_gradients(other, step)
        muon.step()
        adam.step()
    same = {
        name: torch.allclose(parameter, dict(other.named_parameters())[name], atol=1e-6)
        for name, parameter in network.named_parameters()
    }
    assert [name for name, equal in same.items() if not equal] == ["body.0.weight"]


def test_an_update_has_the_size_of_adams() -> None:
    """Root mean square 0.2 to 0.3 of the learning rate, whatever the gradient's size: one rate serves both."""
    network = Chain()
    before = network.body[0].weight.detach().clone()
    muon = Muon(network)
    for group in muon.param_groups:
        group["lr"] = 1e-2
    with_gradients(network, 0)
    for parameter in network.parameters():
        parameter.grad *= 1e3
    muon.step()
    change = (network.body[0].weight - before).square().mean().sqrt().item() / 1e-2
    assert 0.1 < change < 0.3


def test_a_saved_state_goes_on_to_the_same_bits() -> None:
    """Momentum, means and counts are all in the state that a checkpoint keeps."""
    torch.manual_seed(0)
    whole = Chain()
    muon = Muon(whole)

    def step(network: nn.Module, optimizer: Muon, number: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        with_gradients(network, number)
        optimizer.step()

    step(whole, muon, 0)
    resumed = copy.deepcopy(whole)
    other = Muon(resumed)
    other.load_state_dict(copy.deepcopy(muon.state_dict()))
    step(whole, muon, 1)
    step(resumed, other, 1)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_ends_are_known_in_a_network_spread_over_processes() -> None:
    """The wrapper puts `module.` before every name."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        network = Chain()
        spread = create_optimizer("muon", nn.parallel.DistributedDataParallel(network))
    finally:
        torch.distributed.destroy_process_group()
    assert [group["params"] for group in spread.param_groups] == [
        group["params"] for group in create_optimizer("muon", network).param_groups
    ]
    assert spread.param_groups[0]["params"] == [network.body[0].weight]
