"""Names of devices and number formats, refused without torch where that is possible."""

import ctypes
import os
import re
import sys

from percept_cli.core.choices import DEVICES, PRECISIONS
from percept_cli.errors import DeviceError, UsageError, unknown_name


def check_device(name: str) -> str:
    """A name of a device. Raises UsageError for an unknown one, DeviceError for one that this computer has no driver of."""
    if name not in DEVICES and not re.fullmatch(r"cuda:\d+", name):
        raise UsageError(unknown_name("device", name, [*DEVICES[:-1], "cuda:0", DEVICES[-1]]))
    if name.startswith("cuda") and not _has_gpu_driver():
        raise no_gpu(name)
    if name == "mps" and sys.platform != "darwin":
        raise no_apple_gpu()
    return name


def no_gpu(name: str) -> DeviceError:
    """The error for a CUDA device where there is none."""
    return DeviceError(f"--device {name}: no CUDA GPU is usable here. Use --device cpu, or run `percept doctor`.")


def no_apple_gpu() -> DeviceError:
    """The error for an Apple GPU where there is none."""
    return DeviceError("--device mps: no Apple GPU is usable here. Use --device cpu.")


def check_precision(name: str) -> str:
    """A name of a number format. Raises UsageError for an unknown one."""
    if name not in PRECISIONS:
        raise UsageError(unknown_name("precision", name, PRECISIONS))
    return name


def no_half_on_processor() -> UsageError:
    """The error for fp16 on a processor."""
    return UsageError("fp16 on a processor is slower than fp32 and overflows. Use --precision bf16, fp32 or auto.")


def _has_gpu_driver() -> bool:
    """Whether a driver of NVIDIA or AMD is installed, as far as that is known; torch finds out whether a GPU is usable."""
    if sys.platform != "linux":
        return sys.platform == "win32"
    if os.path.exists("/dev/kfd"):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
