"""Device, number format, memory layout, threads and seeds of all computation, and errors of memory."""

import contextlib
import ctypes
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from percept_cli.errors import DeviceError, UsageError, unknown_name

# From glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Runtime:
    """The device and the number format in which networks run.

    dtype: of convolutions and frozen weights; trained weights, images and losses stay float32. reason: why these were
    chosen, one sentence for the user.
    """

    device: torch.device
    dtype: torch.dtype
    reason: str

    @property
    def precision(self) -> str:
        """The name of `dtype` in `--precision`."""
        return next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels last, which oneDNN and tensor cores convolve without reordering; contiguous on MPS."""
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last

    def place(self, images: Tensor) -> Tensor:
        """Moves a tensor to the device; one of 4 dimensions also to the memory layout of the networks."""
        placed = images.to(self.device, non_blocking=True)
        return placed.contiguous(memory_format=self.memory_format) if placed.ndim == 4 else placed

    def freeze(self, network: Network) -> Network:
        """Moves a network to the device for use without training: weights in `dtype`, no gradients, evaluation mode."""
        network = network.to(self.device, self.dtype).to(memory_format=self.memory_format)  # type: ignore[call-overload]
        return network.eval().requires_grad_(False)

    def place_network(self, network: Network) -> Network:
        """Moves a network to the device and the memory layout; its weights stay float32, for training or `autocast`."""
        return network.to(self.device).to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def autocast(self) -> contextlib.AbstractContextManager:
        """A context in which convolutions with float32 weights are computed in `dtype`."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def choose_runtime(device: str = "auto", precision: str = "auto", threads: int | None = None) -> Runtime:
    """Chooses the device and the number format, and sets the number of processor threads of this process.

    device: auto, cpu, cuda, cuda:N or mps. precision: auto, fp32, bf16 or fp16; auto is bf16 where the processor
    (AMX, AVX512-BF16) or the GPU multiplies it natively, else fp32. threads: all if None. Raises DeviceError for a device
    that does not exist, UsageError for an unknown name and for fp16 on a processor.
    """
    if threads is not None:
        if threads < 1:
            raise UsageError(f"--threads is {threads}; give 1 or more.")
        torch.set_num_threads(threads)
    chosen = _choose_device(device)
    if chosen.type == "cpu":
        _keep_freed_memory()
    elif chosen.type == "cuda" and chosen.index is not None:
        torch.cuda.set_device(chosen)  # also for what is placed on "cuda" without a number
    if precision == "auto":
        unit = _bf16_unit(chosen)
        dtype = torch.bfloat16 if unit else torch.float32
        why = f"{unit}: bf16, channels last" if unit else "no native bf16: fp32"
    elif precision in PRECISIONS:
        dtype, why = PRECISIONS[precision], f"{precision}, as asked"
    else:
        raise UsageError(unknown_name("precision", precision, ["auto", *PRECISIONS]))
    if dtype == torch.float16 and chosen.type == "cpu":
        raise UsageError("fp16 on a processor is slower than fp32 and overflows. Use --precision bf16, fp32 or auto.")
    return Runtime(chosen, dtype, f"running on {chosen} ({why})")


def _keep_freed_memory() -> None:
    """Makes glibc keep and reuse the memory of feature maps; other C libraries are not changed.

    By default glibc maps and clears new memory for every map of some megabytes, which takes a third of a training step.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages; read by torch at its first large allocation
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # glibc's maximum
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _bf16_unit(device: torch.device) -> str:
    """The name of the hardware that convolves bf16 faster than fp32; empty where there is none."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device) if torch.cuda.get_device_capability(device) >= (8, 0) else ""
    if device.type == "cpu":
        # Both functions query the processor; older releases of torch do not have them under these names.
        if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
            return "AMX"
        if getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
            return "AVX512-BF16"
    return ""


def _choose_device(name: str) -> torch.device:
    unknown = UsageError(unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0", "mps"]))
    if name == "auto":
        if torch.cuda.is_available():
            # Under torchrun or accelerate each process owns one GPU.
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise unknown from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"--device {name}: no CUDA GPU is usable here. Use --device cpu, or run `percept doctor`."
            )
        if device.index is not None and device.index >= count:
            raise DeviceError(f"--device {name}: there are {count} GPUs, cuda:0 to cuda:{count - 1}.")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("--device mps: no Apple GPU is usable here. Use --device cpu.")
    elif device.type != "cpu":
        raise unknown
    return device


def seed_everything(seed: int) -> None:
    """Seeds every random source and selects deterministic kernels: same seed, same device, same result."""
    random.seed(seed)
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def random_state() -> dict[str, object]:
    """The state of every random source, for a checkpoint."""
    version, words, gauss = random.getstate()
    state: dict[str, object] = {"torch": torch.get_rng_state(), "python": [version, list(words), gauss]}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict) -> None:
    """Restores what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])


@contextlib.contextmanager
def memory_errors(what: str, advice: str = "Use a smaller --size") -> Iterator[None]:
    """A context that turns errors of too little memory into a DeviceError with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if isinstance(error, torch.OutOfMemoryError):
            raise DeviceError(f"Not enough GPU memory for {what}. {advice} or --device cpu.") from error
        raise DeviceError(f"Not enough memory for {what}. {advice}.") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means too little memory, of a GPU or the processor; torch has no class for the latter."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)
