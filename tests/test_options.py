"""Options that commands share: bundles are flattened into single options, names are split in one place."""

import inspect
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from percept_cli.bundles import flatten
from percept_cli.naming import Chosen
from percept_cli.options import Compute, ExactCompute, LossLayers, Quality, Report
from percept_cli.parsing import parse_names


@pytest.mark.parametrize("text", ["relu1_1,relu2_1", "relu1_1, relu2_1", " relu1_1 ,relu2_1,"])
def test_names_are_those_between_the_commas_whatever_the_spaces(text: str) -> None:
    assert parse_names(text) == ("relu1_1", "relu2_1")


def test_a_bundle_is_its_options_in_its_place_with_their_defaults() -> None:
    """The help of a command lists the options of its bundles where the bundle stands."""

    def command(size: int = 3, *, compute: ExactCompute, report: Report) -> None: ...

    parameters = inspect.signature(flatten(command)).parameters
    assert list(parameters) == ["size", "device", "precision", "threads", "quiet", "verbose", "json"]
    assert parameters["precision"].default == "fp32"


def test_a_command_gets_its_bundles_and_its_names_parsed() -> None:
    """What is typed reaches the command as one value each: a bundle, a tuple of names, an option."""
    received = []

    def command(
        name: Annotated[str, typer.Argument()], *, layers: LossLayers = None, compute: Compute, report: Report
    ) -> None:
        received.append((name, layers, compute, report))

    app = typer.Typer()
    app.command()(flatten(command))
    result = CliRunner().invoke(app, ["x", "--help"])
    assert "--threads" in result.output and "--layers" in result.output
    result = CliRunner().invoke(app, ["x", "--layers", "conv1, conv2", "--device", "cpu", "-q"])
    assert result.exit_code == 0
    assert received == [("x", ("conv1", "conv2"), Compute("cpu", "auto", None), Report(quiet=True))]


def test_results_are_named_by_the_options_that_were_chosen() -> None:
    """Those that change the result and are not their defaults, so that two different runs have two names."""
    names = []

    def command(
        strength: float = 1.0,
        keep_colors: Annotated[bool, typer.Option("--keep-colors")] = False,
        mask: Path | None = None,
        model: str = "wave",
        *,
        layers: LossLayers = None,
        quality: Quality = 95,
        compute: Compute,
        chosen: Chosen,
    ) -> None:
        names.append(chosen.describe(model, "model"))

    app = typer.Typer()
    app.command()(flatten(command))
    for arguments, name in (
        ([], "wave"),
        (["--strength", "1"], "wave"),
        (["--strength", "0.6"], "wave_strength-0.6"),
        (["--keep-colors", "--model", "udnie", "--strength", "0.6"], "udnie_strength-0.6_keep-colors"),
        (["--layers", "conv1, conv2", "--mask", "../masks/sky.png"], "wave_mask-sky_layers-conv1+conv2"),
        (["--model", "folder/x"], "folder-x"),
        (["--quality", "80", "--device", "cpu", "--threads", "1"], "wave"),
    ):
        assert CliRunner().invoke(app, arguments).exit_code == 0
        assert names.pop() == name
