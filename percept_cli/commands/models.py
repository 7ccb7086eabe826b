"""`percept models`: the shipped models, and the content of a weights file."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.console import Console
from percept_cli.grammar import Command, Group
from percept_cli.parsing import choice_option

ROLES = ("any-style", "extractor", "inverter", "style", "upscaler")

models = typer.Typer(
    help="List the shipped models, or show what a weights file holds.", no_args_is_help=True, cls=Group
)


@models.command("list", cls=Command)
def list_models(
    role: Annotated[str | None, choice_option("role", ROLES, "Only one role.")] = None,
    json: options.Json = False,
) -> None:
    """List the models that came with percept.

    percept models list --role style
    """
    from percept_cli.core.pretrained.manifest import shipped_models

    console = Console(as_json=json)
    known = list(shipped_models().values())
    wanted = [model for model in known if role in (None, model.role)]
    widest = max((len(model.name) for model in wanted), default=0)
    for model in wanted:
        size = model.path.stat().st_size / 1e6 if model.path.is_file() else 0.0
        console.figures(
            f"{model.name:{widest}}  {model.role:9}  {size:4.1f} MB  {model.description}", **dataclasses.asdict(model)
        )


@models.command("inspect", cls=Command)
def inspect_model(
    model: Annotated[str, typer.Argument(help="A shipped name or a file.")], json: options.Json = False
) -> None:
    """Show what a weights file holds: format, architecture, parameters, recipe.

    percept models inspect starry-night
    """
    from percept_cli.core.pretrained.manifest import check_weights, shipped_models

    console = Console(as_json=json)
    shipped = shipped_models().get(model)
    path = shipped.path if shipped else Path(model)
    check_weights(path)

    # Only now the slow imports, so that a mistyped name is refused at once.
    from percept_cli.core.pretrained.files import load_weights_and_metadata, sha256_of
    from percept_cli.core.pretrained.generators import recognize

    weights, metadata = load_weights_and_metadata(path)
    role, architecture = metadata.get("role"), metadata.get("architecture")
    if not role or not architecture:
        role, architecture = recognize(weights, str(path))
    fields = {
        "file": str(path),
        "role": role,
        "architecture": architecture,
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "sha256": sha256_of(path),
        **({"licence": shipped.licence, "command": shipped.command, "figures": shipped.figures} if shipped else {}),
        **{key: value for key, value in metadata.items() if key not in ("role", "architecture")},
    }
    console.figures("\n".join(f"{key}: {value}" for key, value in fields.items()), **fields)


@models.command("blend", cls=Command)
def blend_models(
    first: Annotated[str, typer.Argument(help="A shipped name or a file.")],
    second: Annotated[str, typer.Argument(help="Another of the same kind.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model to write.")],
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The weight of the second: 0 gives the first, 1 the second.")
    ] = 0.5,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Write a weighted mean of two models of one architecture: two styles, two looks, two stages of one training.

    percept models blend wave starry-night -o between.safetensors
    """
    from percept_cli.core.files.outputs import check_model_output
    from percept_cli.core.pretrained.manifest import check_weights, shipped_models

    check_model_output(output, overwrite)
    shipped = shipped_models()
    one, other = (shipped[name].path if name in shipped else Path(name) for name in (first, second))
    for path in (one, other):
        check_weights(path)

    from percept_cli.core.pretrained.blending import blend_files
    from percept_cli.core.pretrained.files import save_weights

    save_weights(output, *blend_files(one, other, share), overwrite=overwrite)
    Console(as_json=json).result(str(output), output=str(output), share=share)


@models.command("verify", cls=Command)
def verify_models(json: options.Json = False) -> None:
    """Check the shipped models against their checksums.

    percept models verify
    """
    from percept_cli.core.pretrained.files import sha256_of
    from percept_cli.core.pretrained.manifest import shipped_models
    from percept_cli.errors import ModelError

    console = Console(as_json=json)
    wrong = []
    for model in shipped_models().values():
        good = model.path.is_file() and sha256_of(model.path) == model.sha256
        console.figures(f"{model.name}: {'ok' if good else 'DAMAGED'}", name=model.name, ok=good)
        if not good:
            wrong.append(model.name)
    if wrong:
        raise ModelError(f"Damaged or missing: {', '.join(wrong)}. Install percept again.")
