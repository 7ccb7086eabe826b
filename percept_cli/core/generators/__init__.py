"""Generators: networks that make images, by role and name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from percept_cli.core import choices
from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.classics import (
    EnhanceNetGenerator,
    JohnsonUpscaleGenerator,
    RrdbGenerator,
    SrcnnGenerator,
    SrResNetGenerator,
)
from percept_cli.core.generators.inversion import Inverter, create_lean_layers, create_paper_layers
from percept_cli.core.generators.one_style import OneStyleGenerator
from percept_cli.core.generators.style import JohnsonGenerator, StyleGenerator
from percept_cli.core.generators.translation import TranslationGenerator
from percept_cli.core.generators.upscale import SwiftEvenGenerator, SwiftGenerator
from percept_cli.errors import UsageError, unknown_name

JOHNSON: Mapping[str, Callable[..., Generator]] = dict(
    zip(choices.JOHNSON_GENERATORS, (StyleGenerator, JohnsonGenerator), strict=True)
)

ARCHITECTURES: Mapping[str, Mapping[str, Callable[..., Generator]]] = {
    "style": {**JOHNSON, "transport": OneStyleGenerator},
    "any-style": {"transport": AnyStyleGenerator},
    "upscaler": {
        "swift": SwiftGenerator,
        "swift-even": SwiftEvenGenerator,
        "srcnn": SrcnnGenerator,
        "srresnet": SrResNetGenerator,
        "enhancenet": EnhanceNetGenerator,
        "rrdb": RrdbGenerator,
        "johnson-upscale": JohnsonUpscaleGenerator,
    },
    "inverter": dict(
        zip(
            choices.INVERTERS,
            (
                partial(Inverter, create_lean_layers),
                partial(Inverter, create_paper_layers),
                partial(Inverter, partial(create_paper_layers, upsampling="linear")),
            ),
            strict=True,
        )
    ),
    "autoencoder": {"lean": Autoencoder},
    "translation": dict(zip(choices.TRANSLATION_GENERATORS, (TranslationGenerator, *JOHNSON.values()), strict=True)),
}
"""Every architecture by role and name. Files of weights hold both, so a released name never changes."""

__all__ = ["ARCHITECTURES", "Generator", "create_generator"]


def create_generator(role: str, name: str, **arguments: Any) -> Generator:
    """An untrained generator by role and name; arguments that are None take the default of its class.

    Raises UsageError for an unknown name, for arguments out of range, and for `inputs=4` (image and mask) where the
    network takes only images.
    """
    known = ARCHITECTURES[role]
    if name not in known:
        raise UsageError(unknown_name("upscaler" if role == "upscaler" else "generator", name, known))
    given = {key: value for key, value in arguments.items() if value is not None}
    if given.get("inputs") == Generator.inputs:
        del given["inputs"]
    elif "inputs" in given and "inputs" not in inspect.signature(known[name]).parameters:
        raise UsageError(f"--generator {name} does not see a mask: leave it out for --degrade mask.")
    if role == "style" and name in JOHNSON:
        known[name]()  # earlier versions created it twice; drawing the same numbers keeps the results of a seed
    return known[name](**given)
