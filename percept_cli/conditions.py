"""When an option has an effect: declared beside the option, and checked here for every command before it begins.

An option that is given where it has no effect is refused with the reason, even with its default value. So is one that is
given twice and has one value. What only the work can tell, as whether a picture has tiles, is refused by `refuse`.

All this is said of the command line. Files of options (`configuration.py`) are written for many calls: what of them has no
effect in one is left out there (`precedence.py`).
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

import typer
from typer.core import TyperOption

from percept_cli.errors import UsageError

Call = Any
"""The values of all options of a command line, as attributes."""

Found = TypeVar("Found")

_current: ContextVar[typer.Context | None] = ContextVar("command line", default=None)


@dataclass(frozen=True)
class EffectIf:
    """A condition beside an option in its `Annotated`: elsewhere the option is refused, for a reason.

    applies: whether the option has an effect in a call. reason: the beginning of the message, as "A trained model is not
    optimized", with `{option}` for the option, or a function of the call that returns it. asked: where the option by itself
    asks for the work that it is of, whether that is asked for anyway; a value from a file asks for nothing.
    """

    applies: Callable[[Call], object]
    reason: str | Callable[[Call], str]
    asked: Callable[[Call], object] | None = None


def beside(command: Any, kind: type[Found]) -> dict[str, tuple[Found, ...]]:
    """What of one kind stands beside the options of a command in their `Annotated`, by the names of their values."""
    parameters = inspect.signature(command.callback).parameters.values()
    metadata = {parameter.name: getattr(parameter.annotation, "__metadata__", ()) for parameter in parameters}
    found = {name: tuple(each for each in data if isinstance(each, kind)) for name, data in metadata.items()}
    return {name: each for name, each in found.items() if each}


def conditions_of(command: Any) -> dict[str, tuple[EffectIf, ...]]:
    """The conditions of the options of a command that have some, by the names of their values."""
    return beside(command, EffectIf)


@contextmanager
def executing(context: Any) -> Iterator[None]:
    """A context in which `refuse` knows the options of a command line."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def current_context() -> Any:
    """The context of the command line that is executed; None where there is none."""
    return _current.get()


def check_options(context: Any, order: Sequence[Any]) -> None:
    """Raises UsageError for an option that is repeated or without effect. order: of the options as they were given."""
    _refuse_repeated(order)
    _refuse_without_effect(context, conditions_of(context.command))


def refuse(reason: str, *names: str) -> None:
    """Raises UsageError where one of the options was given in the command line that is executed; names: of their values."""
    context = _current.get()
    if context is not None:
        _refuse(context, {name: reason for name in names})


def is_given(condition: EffectIf) -> bool:
    """Whether an option that has the condition was given in the command line that is executed."""
    context = _current.get()
    return context is not None and was_given(context, condition)


def was_given(context: Any, condition: EffectIf) -> bool:
    """Whether an option that has the condition was given in the command line of a context."""
    return any(
        condition in found and is_on_command_line(context, name)
        for name, found in conditions_of(context.command).items()
    )


def _refuse_repeated(order: Sequence[Any]) -> None:
    for parameter in order:
        repeatable = not isinstance(parameter, TyperOption) or parameter.multiple
        # A flag that is given twice says the same twice; of --x and --no-x one has no effect.
        is_flag = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
        if not repeatable and not is_flag and order.count(parameter) > 1:
            raise UsageError(f"{spelling(parameter)} is given {order.count(parameter)} times: give it once.")


def _refuse_without_effect(context: Any, conditions: Mapping[str, tuple[EffectIf, ...]]) -> None:
    call = SimpleNamespace(**context.params)
    reasons: dict[str, str] = {}
    for name in conditions:
        if is_on_command_line(context, name):
            for condition in conditions[name]:
                if not condition.applies(call):
                    reasons[name] = condition.reason if isinstance(condition.reason, str) else condition.reason(call)
                    break
    _refuse(context, reasons)


def _refuse(context: Any, reasons: Mapping[str, str]) -> None:
    """Raises UsageError for the given ones of the options, by their first reason and with all that share it."""
    parameters = {parameter.name: parameter for parameter in context.command.params}
    given = {name: reason for name, reason in reasons.items() if is_on_command_line(context, name)}
    if not given:
        return
    name, first = next(iter(given.items()))
    if "{option}" in first:
        raise UsageError(f"{first.format(option=spelling(parameters[name]))}: leave it out.")
    names = [spelling(parameters[name]) for name, reason in given.items() if reason == first]
    listing = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    raise UsageError(f"{first}: leave {listing} out.")


def is_on_command_line(context: Any, name: str) -> bool:
    """Whether an option was given on the command line, by the name of its value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def spelling(parameter: Any) -> str:
    """The long name of an option."""
    return str(next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0]))
