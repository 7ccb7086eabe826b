"""Where and in which precision networks run is decided once, truthfully, and never against an explicit wish."""

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from percept_cli.core.runtime import (
    Runtime,
    choose_runtime,
    memory_errors,
    random_state,
    restore_random_state,
    seed_everything,
)
from percept_cli.errors import DeviceError, UsageError

CPUINFO = Path("/proc/cpuinfo")
GPU = torch.cuda.is_available() or torch.backends.mps.is_available()


@pytest.mark.skipif(not CPUINFO.exists() or GPU, reason="asks the processor, through /proc/cpuinfo")
def test_auto_takes_bf16_just_where_the_processor_multiplies_it() -> None:
    """With AMX or AVX512-BF16 `auto` is bf16, without them fp32; the sentence for the user says which."""
    flags = next((line.split() for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), [])
    native = "amx_tile" in flags or "avx512_bf16" in flags
    runtime = choose_runtime()
    assert runtime.precision == ("bf16" if native else "fp32")
    assert runtime.precision in runtime.reason
    assert "cpu" in runtime.reason


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_explicit_precision_is_obeyed(precision: str) -> None:
    """What is asked for is what runs, whatever the processor would prefer."""
    assert choose_runtime("cpu", precision).precision == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_an_error(device: str) -> None:
    """Never a silent fallback to the processor."""
    with pytest.raises(DeviceError, match=f"--device {device}.*--device cpu"):
        choose_runtime(device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_a_gpu_past_the_last_is_an_error() -> None:
    """`cuda:N` counts from 0 and the message says how far."""
    count = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=f"cuda:{count - 1}"):
        choose_runtime(f"cuda:{count}")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="an Apple GPU is here")
def test_an_apple_gpu_that_is_not_there_is_an_error() -> None:
    """`--device mps` elsewhere names the way out."""
    with pytest.raises(DeviceError, match="--device cpu"):
        choose_runtime("mps")


@pytest.mark.parametrize("device", ["gpu", "cpuu", "meta", "", "cuda:-1"])
def test_a_device_of_no_known_kind_is_a_mistake_of_the_user(device: str) -> None:
    """The known kinds are listed."""
    with pytest.raises(UsageError, match=r"Unknown device.*auto, cpu, cuda"):
        choose_runtime(device)


def test_fp16_on_a_processor_is_refused() -> None:
    """It is slower there than fp32 and overflows; the message names the alternatives."""
    with pytest.raises(UsageError, match="bf16, fp32 or auto"):
        choose_runtime("cpu", "fp16")


def test_a_misspelt_precision_gets_a_suggestion() -> None:
    """`bf61` is probably `bf16`."""
    with pytest.raises(UsageError, match=r"Unknown precision 'bf61'\. Did you mean 'bf16'"):
        choose_runtime("cpu", "bf61")


@pytest.mark.parametrize("threads", [0, -2])
def test_fewer_than_one_thread_is_refused(threads: int) -> None:
    """--threads is named in the message."""
    with pytest.raises(UsageError, match="--threads"):
        choose_runtime("cpu", threads=threads)


def test_frozen_networks_are_in_the_runtimes_type_and_layout() -> None:
    """Weights in bf16 and channels last, evaluation mode, no gradients."""
    runtime = Runtime(torch.device("cpu"), torch.bfloat16, "")
    frozen = runtime.freeze(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout()))
    weight = frozen[0].weight
    assert weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not frozen.training


def test_trained_weights_stay_float32_while_their_convolutions_run_in_bf16() -> None:
    """`prepare` keeps the weights, `autocast` lowers the arithmetic; in fp32 it changes nothing."""
    images = torch.rand(1, 3, 8, 8)
    for dtype in (torch.bfloat16, torch.float32):
        runtime = Runtime(torch.device("cpu"), dtype, "")
        network = runtime.place_network(nn.Conv2d(3, 8, 3))
        with runtime.autocast():
            result = network(runtime.place(images))
        assert network.weight.dtype == torch.float32
        assert result.dtype == dtype


def test_random_sources_continue_where_they_were_saved() -> None:
    """What `random_state` saw is drawn again after `restore_random_state`, by torch and by Python."""
    seed_everything(7)
    torch.rand(3), random.random()
    state = random_state()
    first = torch.rand(5), random.random(), random.gauss(0, 1)
    restore_random_state(state)
    again = torch.rand(5), random.random(), random.gauss(0, 1)
    assert torch.equal(first[0], again[0])
    assert first[1:] == again[1:]


def test_a_seed_fixes_torch_and_python() -> None:
    """Same seed, same draws; another seed, others."""
    draws = []
    for seed in (1, 1, 2):
        seed_everything(seed)
        draws.append((torch.rand(1).item(), random.random()))
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[2][0] and draws[0][1] != draws[2][1]


def test_running_out_of_memory_is_told_as_such() -> None:
    """An allocation of a million terabytes becomes one sentence about a smaller --size."""
    with (
        pytest.raises(DeviceError, match=r"Not enough memory for a mural\. Use a smaller --size"),
        memory_errors("a mural"),
    ):
        torch.empty(1 << 58)


def test_other_errors_are_not_taken_for_memory() -> None:
    """A mistake in the program stays what it is."""
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), memory_errors("a matrix"):
        torch.ones(2, 3) @ torch.ones(2, 3)
