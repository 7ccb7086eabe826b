"""How values of options are read: lists of names, one of several names, and their completion in a shell."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from percept_cli.core.extractors import ARCHITECTURES, create_architecture
from percept_cli.core.losses.style_losses import parse_scales
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from percept_cli.core.extractors import Architecture

WIDEST_METAVAR = 30  # characters


class Names(tuple[str, ...]):
    """Names as the command line gives them, `relu1_1, relu2_1`: separated by commas, with or without spaces."""


def parse_names(text: str) -> Names:
    """The names between the commas, without spaces around them and without empty ones."""
    return Names(part.strip() for part in text.split(",") if part.strip())


class Scales(tuple[int, ...]):
    """The scales of a style loss as the command line gives them, `1,2,4`."""


def scales_option(help: str, **more: Any) -> Any:
    """A Typer option whose value `parse_scales` reads."""
    return typer.Option(parser=lambda text: Scales(parse_scales(text)), metavar="N1,N2,...", help=help, **more)


def names_option(help: str | None, *spellings: str, metavar: str = "L1,L2,...", **more: Any) -> Any:
    """A Typer option whose value `parse_names` reads; names of layers are completed in a shell, unless `more` says else."""
    return typer.Option(
        *spellings, parser=parse_names, metavar=metavar, help=help, **{"autocompletion": complete_layers, **more}
    )


def choice_option(kind: str, known: Sequence[str], help: str | None, *spellings: str, **more: Any) -> Any:
    """A Typer option that takes one of the `known` names, which its help lists and a shell completes.

    kind: what a name stands for, in the message for an unknown one.
    """

    def parse(text: str) -> str:
        if text not in known:
            raise UsageError(unknown_name(kind, text, known))
        return text

    listing = "|".join(known)
    if len(listing) > WIDEST_METAVAR:
        listing, help = "NAME", f"{help or ''} One of {', '.join(known)}.".strip()
    return typer.Option(
        *spellings, parser=parse, metavar=listing, help=help, **{"autocompletion": complete_from(known), **more}
    )


def complete_from(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A function that completes some names in a shell."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in known if name.startswith(incomplete)]

    return complete


def complete_list(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A function that completes the last of several names between commas in a shell."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in known if name.startswith(last)]

    return complete


def complete_layers(ctx: typer.Context, incomplete: str) -> list[str]:
    """The layers of the extractor of a command line whose last name is incomplete. It imports no torch."""
    given = ctx.params.get("extractor") or "compact"
    return complete_list(create_architecture(given).layer_names if given in ARCHITECTURES else ())(incomplete)


def check_layers(architecture: "Architecture", *asked: Sequence[str] | None) -> None:
    """Raises UsageError, with a suggestion, for a layer that the architecture has not."""
    for layers in asked:
        for layer in layers or ():
            architecture.resolve(layer)


def complete_models(*roles: str) -> Callable[[str], list[str]]:
    """A function that completes the names of the shipped models of some roles in a shell. It imports no torch."""

    def complete(incomplete: str) -> list[str]:
        from percept_cli.core.pretrained.manifest import shipped_models

        return [name for name, model in shipped_models().items() if model.role in roles and name.startswith(incomplete)]

    return complete
