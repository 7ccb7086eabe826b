"""`percept doctor`: whether this installation works, and on which device it runs."""

from percept_cli import __version__, options


def doctor(json: options.Json = False) -> None:
    """Check this installation: packages, devices, precision, models, cache. Its output belongs in a bug report.

    percept doctor
    """
    import platform
    import shutil
    from importlib.metadata import version

    import torch

    from percept_cli.console import Console
    from percept_cli.core.pretrained.manifest import cache_folder, is_offline, shipped_models
    from percept_cli.core.runtime import choose_runtime
    from percept_cli.errors import DeviceError

    console = Console(as_json=json)
    try:
        # The import fails where the two packages come from different package indexes.
        import torchvision

        pair = torchvision.__version__
    except (RuntimeError, ImportError) as error:
        raise DeviceError(
            f"torchvision does not fit torch {torch.__version__} ({error}). Install both from the same index."
        ) from error
    runtime = choose_runtime()
    existing = next(folder for folder in (cache_folder(), *cache_folder().parents) if folder.is_dir())
    facts = {
        "percept": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "torchvision": pair,
        "pillow": version("pillow"),
        "device": str(runtime.device),
        "precision": runtime.reason,
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "models": len(shipped_models()),
        "cache": str(cache_folder()),
        "cache_free_gb": round(shutil.disk_usage(existing).free / 1e9, 1),
        "offline": is_offline(),
    }
    console.figures("\n".join(f"{name:13} {value}" for name, value in facts.items()), **facts)
