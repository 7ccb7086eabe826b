"""How a command line is read beyond what Typer does: options without effect, old spellings, options in a wrong place."""

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

from percept_cli.arguments import GIVEN
from percept_cli.conditions import check_options, executing
from percept_cli.errors import UsageError

OLD_SPELLINGS = {"--layer": "--layers", "--parametrisation": "--parametrization"}
"""Spellings that help does not show any more, and those that stand for them."""


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


class Command(TyperCommand):
    """A command that refuses options without effect and options that are given twice, and knows old spellings."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return _for_people(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments. Raises UsageError for an option that is repeated or without effect."""
        args = [self._respelled(word) for word in args]
        self._refuse_factors(args)
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[GIVEN] = given
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            check_options(ctx, order)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        with executing(ctx):
            return super().invoke(ctx)

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
