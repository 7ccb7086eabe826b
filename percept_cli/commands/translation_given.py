"""Which data `percept train translate` was given, and so what it is to learn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from percept_cli.commands.training_run import training_photos
from percept_cli.console import Console
from percept_cli.core.corruption import parse_amount
from percept_cli.core.dataset import Examples, find_photos, fingerprint
from percept_cli.core.pairs import match_by_name
from percept_cli.core.translation import DEGRADE, MATCH_SOURCE, PAIRS, UNPAIRED
from percept_cli.core.translation_data import CorruptedCrops, PairedCrops, UnpairedCrops
from percept_cli.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Given:
    """The options that say what to learn from, as they were given."""

    source: list[Path] | None
    target: list[Path] | None
    pairs: bool
    match: str | None
    degrade: str | None
    amount: str | None
    data: list[Path] | None
    offset: int
    short_side: int


def find_mode(given: Given) -> str:
    """What is to be learned. Raises UsageError for options that do not go together."""
    if given.match is not None and given.match != "source":
        raise UsageError(unknown_name("--match", given.match, ["source"]))
    if given.degrade is not None:
        if given.source or given.target or given.pairs or given.match:
            raise UsageError(
                "--degrade makes its pairs from --data: leave --source, --target, --pairs and --match out."
            )
        parse_amount(given.degrade, given.amount)
        return DEGRADE
    if given.data or given.amount:
        raise UsageError("--data and --amount go with --degrade. Elsewhere give --source and --target.")
    if not given.target:
        raise UsageError(
            "Say what to learn: --target PICTURES (and --source PHOTOS/), with --pairs where they belong together, or "
            "--degrade noise, blur, jpeg, mask, gray or downscale."
        )
    if given.pairs and given.match:
        raise UsageError("--pairs has targets to compare with and --match source has none: give one of them.")
    if given.pairs and not given.source:
        raise UsageError("--pairs needs both --source and --target.")
    if given.offset and not given.pairs:
        raise UsageError(
            "--offset shifts the targets of --pairs or --degrade; unpaired ones have no place to be shifted from."
        )
    return PAIRS if given.pairs else MATCH_SOURCE if given.match else UNPAIRED


def create_examples(
    mode: str, given: Given, size: int, seed: int, count: int, console: Console
) -> tuple[Examples, dict[str, Any]]:
    """The crops of a mode, and what a run must have the same to be resumed. Raises UsageError where none can be had."""
    if mode == DEGRADE:
        assert given.degrade
        photos = training_photos(given.data, "translation", console)
        amount = parse_amount(given.degrade, given.amount)
        about = {"degrade": given.degrade, "amount": list(amount), "offset": given.offset, **_about("photos", photos)}
        return CorruptedCrops(photos, size, seed, count, given.degrade, amount, given.offset), about
    sources = training_photos(given.source, "translation", console)
    targets = find_photos(given.target or [])
    about = {**_about("sources", sources), **_about("targets", targets)}
    if mode != PAIRS:
        return UnpairedCrops(sources, targets, size, seed, count, given.short_side), {
            **about,
            "short_side": given.short_side,
        }
    pairs, unmatched = match_by_name(sources, targets)
    for path, reason in unmatched.items():
        console.warn(f"{path} was left out: {reason}")
    if not pairs:
        raise UsageError(
            "--pairs: no name of --source is found in --target; a01.jpg belongs to a01.png or a01_night.png."
        )
    return PairedCrops(pairs, size, seed, count, given.offset), {**about, "pairs": len(pairs), "offset": given.offset}


def _about(name: str, photos: list[Path]) -> dict[str, Any]:
    return {name: len(photos), f"{name}_digest": fingerprint(photos)}
