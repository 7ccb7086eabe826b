"""Bundles of options, frozen dataclasses whose fields are options, made into the single options that Typer reads."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from percept_cli.naming import Chosen


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its bundles in place of each bundle, for Typer to read and call.

    Conditions beside a bundle, `Annotated[Bundle, EffectIf(...)]`, are those of each of its options, after its own.
    """
    signature = inspect.signature(command, eval_str=True)
    chosen = [name for name, parameter in signature.parameters.items() if parameter.annotation is Chosen]
    bundles: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        bundle: Any = parameter.annotation
        if bundle is Chosen:
            continue
        conditions: Sequence[Any] = ()
        if get_origin(bundle) is Annotated and is_dataclass(get_args(bundle)[0]):
            bundle, conditions = get_args(bundle)[0], get_args(bundle)[1:]
        if not is_dataclass(bundle):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        bundles[name] = bundle
        hints = get_type_hints(bundle, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
                annotation=Annotated[(hints[field.name], *conditions)] if conditions else hints[field.name],
            )
            for field in fields(bundle)
        ]  # fmt: skip

    defaults = {parameter.name: parameter.default for parameter in parameters}

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        given |= dict.fromkeys(
            chosen, Chosen({name: given[name] for name in defaults if given[name] != defaults[name]})
        )
        for name, bundle in bundles.items():
            given[name] = bundle(**{field.name: given.pop(field.name) for field in fields(bundle)})
        command(**given)

    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
