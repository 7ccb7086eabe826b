"""Device, number format, memory layout, threads and seeds of all computation, and errors of memory."""

import contextlib
import ctypes
import gc
import math
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch
from torch import Tensor, nn

from percept_cli.core.devices import no_apple_gpu, no_gpu, no_half_on_processor
from percept_cli.errors import DeviceError, MemoryShortage, PerceptError, UsageError, unknown_name

# From glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

CPU = torch.device("cpu")
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
        raise no_half_on_processor()
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
            raise no_gpu(name)
        if device.index is not None and device.index >= count:
            raise DeviceError(f"--device {name}: there are {count} GPUs, cuda:0 to cuda:{count - 1}.")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise no_apple_gpu()
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


# Of memory, at most, for a pixel of an image whose features are computed with their gradients; measured with VGG-19
BYTES_PER_PIXEL = 8000


def free_memory(device: torch.device) -> int:
    """Free bytes: of a GPU, including those that torch keeps for reuse; else of main memory, or less under `ulimit -v`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = psutil.virtual_memory().available
    if sys.platform == "win32":
        return free
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return free if limit == resource.RLIM_INFINITY else max(0, min(free, limit - psutil.Process().memory_info().vms))


def release_memory() -> None:
    """Gives back what a failed piece of work held, before the next one begins."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fitting_size(height: int, width: int, bytes_per_pixel: int, free: int) -> tuple[int, int]:
    """The (height, width) of the same shape that takes half of the free bytes, and at most half of each side; at least 1."""
    factor = min(0.5, math.sqrt(free / 2 / bytes_per_pixel / (height * width)))
    return max(1, int(height * factor)), max(1, int(width * factor))


def size_advice(
    height: int, width: int, bytes_per_pixel: int, device: torch.device, least: int = 16, option: str = "--size"
) -> str:
    """The advice to give a `--size` for which the memory that is free now suffices, for work on height x width pixels.

    least: the smallest value that the option takes. Where even that does not fit, the advice is to free memory.
    """
    side = min(fitting_size(height, width, bytes_per_pixel, free_memory(device)))
    if side < least:
        return "Close other programs" if device.type == "cpu" else "Use --device cpu"
    return f"Use {option} {side - side % 16 if side > 64 else side} or less"


@contextlib.contextmanager
def memory_errors(what: str, advice: str = "Use a smaller --size") -> Iterator[None]:
    """A context that turns errors of too little memory into a MemoryShortage with advice."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if "--device cpu" not in advice and is_of_gpu(error):
            raise MemoryShortage(f"Not enough GPU memory for {what}. {advice} or --device cpu.") from error
        raise MemoryShortage(f"Not enough memory for {what}. {advice}.") from error


# What torch, its libraries and Pillow say when memory is not enough, in lower case. Most have no class of their own.
_OF_GPU = (
    "cuda out of memory", "hip out of memory", "mps backend out of memory", "cuda error: out of memory",
    "cudaerrormemoryallocation", "hiperroroutofmemory", "cudnn_status_alloc_failed", "cudnn_status_not_initialized",
    "cublas_status_alloc_failed", "cublas_status_not_initialized", "cusolver_status_alloc_failed", "cufft_alloc_failed",
    "cusparse_status_alloc_failed", "invalid buffer size",
)  # fmt: skip
_OF_ANY = (
    "can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "could not create a primitive",
    "could not execute a primitive", "could not create a memory object", "bad_alloc", "bad allocation",
    "unable to allocate", "failed to allocate", "insufficient memory",
    "storage size calculation overflowed",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means too little memory, of a GPU or the processor, in any of the spellings of the libraries."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, PerceptError) or not isinstance(error, RuntimeError | OSError | ValueError):
        return False
    text = str(error).lower()
    # A descriptor is refused where a convolution is not supported at all.
    return any(spelling in text for spelling in (*_OF_GPU, *_OF_ANY)) and "primitive descriptor" not in text


def is_of_gpu(error: BaseException) -> bool:
    """Whether an error of too little memory is one of a GPU's."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(spelling in text for spelling in _OF_GPU)
