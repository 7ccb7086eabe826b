"""The options of `percept invert --method optimize`, and when the options of `percept invert` have an effect."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from percept_cli import options, parsing
from percept_cli.conditions import Call, EffectIf
from percept_cli.core import choices
from percept_cli.core.pretrained.manifest import role_of
from percept_cli.precedence import OneOf

PANEL = "Optimization"


def _option(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=PANEL, **more)


def _is_autoencoder(call: Call) -> bool:
    return call.model is not None and role_of(call.model) == "autoencoder"


OPTIMIZES = EffectIf(
    lambda call: call.method == "optimize" or (call.method is None and call.model is None),
    "A generator does not search",
)
OF_LAYERS = EffectIf(
    lambda call: not _is_autoencoder(call),
    lambda call: f"{call.model} is an autoencoder, which makes its code by itself",
)
METHOD = OneOf("method", when=lambda call: call.method == "optimize")
ONE_LAYER = OneOf("layer of a model", when=lambda call: len(call.layer or ()) > 1)


def _varies(call: Call) -> object:
    """Whether total variation has a weight."""
    return call.tv_weight if call.tv_weight is not None else call.preset


@dataclass(frozen=True)
class Search:
    """The options of `--method optimize`; None stands for the value of the preset, or for the default."""

    preset: Annotated[
        str | None,
        parsing.choice_option(
            "preset", choices.INVERSION_PRESETS, "The settings of a paper.", rich_help_panel=options.PAPERS
        ),
    ] = None
    steps: Annotated[int | None, _option("Updates of each picture. Default: 300.", min=1)] = None
    optimizer: Annotated[
        str | None,
        parsing.choice_option(
            "optimizer", choices.INVERSION_OPTIMIZERS, "auto: lbfgs, then adam.", rich_help_panel=PANEL
        ),
    ] = None
    tv_weight: Annotated[float | None, _option("More is smoother. Default: 0.", min=0.0)] = None
    tv_exponent: Annotated[
        float | None,
        _option("β: 1 keeps edges, 2 (default) smooths them.", min=1.0),
        EffectIf(_varies, "--tv-weight is 0"),
    ] = None
    alpha_weight: Annotated[float | None, _option("More keeps colors nearer to gray. Default: 0.", min=0.0)] = None
    jitter: Annotated[
        int | None, _option("Largest shift of the picture at each step, pixels; with adam or sgd.", min=0)
    ] = None
