"""How a command line is read beyond what Typer does: options without effect, old spellings, options from files."""

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from percept_cli.arguments import GIVEN
from percept_cli.conditions import check_options, executing
from percept_cli.configuration import Setting, command_path, explain, settings_for
from percept_cli.console import Console
from percept_cli.errors import PerceptError, UsageError
from percept_cli.precedence import describe, settle

HELD = "percept.settings"
"""The place in a context of the settings of files that hold in its call."""
OLD_SPELLINGS = {"--layer": "--layers", "--parametrisation": "--parametrization"}
"""Spellings that help does not show any more, and those that stand for them."""


def _settings(ctx: Any) -> dict[str, Setting]:
    """The options that files set for the command of a context; none where it stands alone, as in a test of its options."""
    names: list[str] = []
    while ctx.parent is not None:
        names.insert(0, ctx.info_name)
        ctx = ctx.parent
    return settings_for(ctx.command, command_path(ctx.command, tuple(names))) if names else {}


def _for_people(parameters: list[Any]) -> list[Any]:
    """The parameters as help shows them: without the types of Python, `<bool>` for a flag and `<list[str]>` for a list."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
        elif getattr(parameter, "multiple", False) and parameter.metavar is None:
            parameter.metavar = "FILE"
        elif parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None
    return parameters


@functools.cache
def _print_config() -> Any:
    """The option of every command that shows its options."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def holder(
        print_config: Annotated[
            bool, typer.Option("--print-config", help="Show each option, its value and where that is from; do nothing.")
        ] = False,
    ) -> None: ...

    (option,) = typer.main.get_command(app).params
    option.expose_value = False
    return option


class Command(TyperCommand):
    """A command that refuses options without effect and options that are given twice, and takes options from files."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.params.append(_print_config())

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return _for_people(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments. Raises UsageError for an option that is repeated or without effect, and for a bad file."""
        args = [self._respelled(word) for word in args]
        self._refuse_factors(args)
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[GIVEN] = given
        if ctx.resilient_parsing or given.get("help"):
            return super().parse_args(ctx, args)
        settings, shown = _settings(ctx), bool(given.get("print_config"))
        ctx.default_map = {name: setting.value for name, setting in settings.items()}
        with self._required_unless(shown):
            rest = super().parse_args(ctx, args)
        complete = not any(each.required and each.value_is_missing(ctx.params[each.name]) for each in self.params)
        with self._telling_files(ctx, settings):
            reasons = settle(ctx, settings, complete=complete)
            if complete:
                check_options(ctx, order)
        if shown:
            console = Console(as_json=ctx.params.get("json", False))
            for text, fields in describe(ctx, settings, reasons):
                console.figures(text, **fields)
            ctx.exit()
        ctx.meta[HELD] = {
            name: setting for name, setting in settings.items() if ctx.get_parameter_source(name).name == "DEFAULT_MAP"
        }
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; which options are from files is said first."""
        held: dict[str, Setting] = ctx.meta.get(HELD, {})
        files: dict[str, list[str]] = {}
        for setting in held.values():
            files.setdefault(f"{setting.file.owner}'s {setting.file.path}", []).append(setting.key)
        for file, keys in files.items():
            Console(quiet=ctx.params.get("quiet", False)).say(f"{', '.join(keys)} from the {file}")
        with executing(ctx), self._telling_files(ctx, held):
            return super().invoke(ctx)

    @contextmanager
    def _required_unless(self, shown: bool) -> Iterator[None]:
        """A context in which nothing is missing where options are only shown."""
        required = [parameter for parameter in self.params if parameter.required and shown]
        for parameter in required:
            parameter.required = False
        try:
            yield
        finally:
            for parameter in required:
                parameter.required = True

    @contextmanager
    def _telling_files(self, ctx: Any, settings: Mapping[str, Setting]) -> Iterator[None]:
        """A context whose errors tell of the files that the options of their messages are from."""
        try:
            yield
        except PerceptError as error:
            spellings = {parameter.name: parameter.opts for parameter in self.params}
            text = explain(str(error), settings, spellings)
            if text == str(error):
                raise
            raise type(error)(text) from error

    def _respelled(self, word: str) -> str:
        name, equals, value = word.partition("=")
        new = OLD_SPELLINGS.get(name)
        known = {spelling for parameter in self.params for spelling in parameter.opts}
        return f"{new}{equals}{value}" if new in known and name not in known else word

    def _refuse_factors(self, args: list[str]) -> None:
        """Raises UsageError for `--x5` where there are `--x4` and `--scale`."""
        known = {spelling for parameter in self.params for spelling in parameter.opts}
        factors = sorted(spelling for spelling in known if re.fullmatch(r"--x\d+", spelling))
        for word in args:
            factor = re.fullmatch(r"--x(\d+(\.\d+)?)", word)
            if factors and factor and word not in known and float(factor[1]) > 1:
                raise UsageError(f"No such option: {word}. Give {', '.join(factors)}, or --scale {factor[1]}.")


class Group(TyperGroup):
    """A group of commands that says of which command an option is that was given before its name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return _for_people(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments before the name of a command. Raises UsageError for an option of a command among them."""
        own = {spelling for parameter in self.get_params(ctx) for spelling in parameter.opts}
        if args and args[0].startswith("-") and not ctx.resilient_parsing:
            name = args[0].partition("=")[0]
            takers = (
                [] if name in own else [known for known, command in self.commands.items() if self._takes(command, name)]
            )
            if takers:
                raise UsageError(
                    f"{name} is an option of {', '.join(f'{ctx.command_path} {taker}' for taker in takers)}: name the "
                    f"command first, as in {ctx.command_path} {takers[0]} {' '.join(args)}"
                )
        return super().parse_args(ctx, args)

    @staticmethod
    def _takes(command: Any, name: str) -> bool:
        return not command.hidden and any(name in parameter.opts for parameter in command.params)
