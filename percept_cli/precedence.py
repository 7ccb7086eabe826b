"""Which options hold in a call: those of the command line, then those of files as far as they fit beside them.

On the command line, options that exclude each other or have no effect are refused (`conditions.py`). A file is written for
many calls: its values give way to the command line and to nearer files, and are left out where they have no effect.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from typer.core import TyperOption

from percept_cli.conditions import Call, EffectIf, beside, conditions_of, is_on_command_line, spelling, was_given
from percept_cli.configuration import Setting
from percept_cli.configured_values import keys_of, to_toml

COMMAND_LINE = (9, 0)


@dataclass(frozen=True)
class OneOf:
    """Beside each of several options that exclude each other, in their `Annotated`.

    group: their common name. side: options of one side go together; by default each is a side of its own. when: whether the
    option gives way to another one of the group in a call.
    """

    group: str
    side: str = ""
    when: Callable[[Call], object] = lambda call: True


def settle(context: Any, settings: Mapping[str, Setting], *, complete: bool = True) -> dict[str, str]:
    """Takes back the values of files that do not fit in the call of a context; returns why, by the names of the values.

    complete: whether all that a command needs is given; without it nothing is said about effects.
    """
    settling = _Settling(context, settings)
    settling.exclude()
    if complete:
        settling.keep_effective()
    return settling.reasons


class _Settling:
    def __init__(self, context: Any, settings: Mapping[str, Setting]):
        self.context, self.settings, self.reasons = context, settings, dict[str, str]()
        self.parameters = {parameter.name: parameter for parameter in context.command.params}
        self.ranks = {name: setting.rank for name, setting in settings.items() if not is_on_command_line(context, name)}
        self.given = [name for name in self.parameters if is_on_command_line(context, name)]

    def call(self, **changed: Any) -> Call:
        return SimpleNamespace(**{**self.context.params, **changed})

    def default(self, name: str) -> Any:
        return self.parameters[name].process_value(self.context, self.parameters[name].default)

    def drop(self, name: str, reason: str) -> None:
        del self.ranks[name]
        self.context.params[name] = self.default(name)
        self.context.default_map.pop(name)
        source = self.context.get_parameter_source(name)
        self.context.set_parameter_source(name, type(source).DEFAULT)
        self.reasons[name] = reason

    def named(self, name: str) -> str:
        setting = self.settings[name] if name in self.ranks else None
        return f"{setting.key} of the {setting.source}" if setting else spelling(self.parameters[name])

    def exclude(self) -> None:
        """Of options that exclude each other, those of the higher rank stay."""
        groups: dict[str, list[tuple[str, OneOf]]] = {}
        for name, found in beside(self.context.command, OneOf).items():
            for each in found:
                groups.setdefault(each.group, []).append((name, each))
        ranks = {**self.ranks, **dict.fromkeys(self.given, COMMAND_LINE)}
        for members in groups.values():
            kept: list[tuple[str, str]] = []
            for name, each in sorted(members, key=lambda member: ranks.get(member[0], (0, 0)), reverse=True):
                value = self.context.params[name]
                if name not in ranks or value is False or _is_unset(value):
                    continue
                side = each.side or name
                above = [other for other, theirs in kept if theirs != side and ranks[other] > ranks[name]]
                if name in self.ranks and above and each.when(self.call()):
                    self.drop(name, f"gives way to {self.named(above[0])}")
                else:
                    kept.append((name, side))

    def keep_effective(self) -> None:
        """Values of files stay where they have an effect and leave those of the command line theirs."""
        conditions = conditions_of(self.context.command)
        changed = True
        while changed:
            before = len(self.ranks)
            # In the order of the command: what its data are comes before what depends on them.
            for name in [name for name in self.parameters if name in conditions]:
                for condition in conditions[name]:
                    if name in self.given:
                        self.make_room(name, condition)
                    elif name in self.ranks and not self.is_effective(condition):
                        self.drop(name, "has no effect in this call")
            changed = len(self.ranks) < before

    def is_effective(self, condition: EffectIf) -> bool:
        """Whether a value of a file has an effect, as far as one condition says."""
        asked = condition.asked is None or condition.asked(self.call()) or was_given(self.context, condition)
        return bool(condition.applies(self.call()) and asked)

    def make_room(self, name: str, condition: EffectIf) -> None:
        """Takes back the value of a file without which an option of the command line has an effect, if one hinders it."""
        if not condition.applies(self.call()):
            for other in self.ranks:
                if condition.applies(self.call(**{other: self.default(other)})):
                    self.drop(other, f"gives way to {self.named(name)}")
                    break


def _is_unset(value: Any) -> bool:
    return value is None or (isinstance(value, (list, tuple)) and not value)


def describe(
    context: Any, settings: Mapping[str, Setting], reasons: Mapping[str, str]
) -> list[tuple[str, dict[str, Any]]]:
    """Each option of the call of a context as a line that a file may have, and its fields: option, value, source, file.

    Lines of options that have no value, or that files do not set, are comments. reasons: as `settle` returns them.
    """
    rows = []
    for key in keys_of(context.command).values():
        if not isinstance(key.parameter, TyperOption) or not key.parameter.expose_value:
            continue
        value, setting = context.params[key.name], settings.get(key.name)
        source, file = "default", None
        if is_on_command_line(context, key.name):
            source = "command line"
        elif setting is not None and key.name in reasons:
            source = f"default; {to_toml(setting.value)} of the {setting.source} {reasons[key.name]}"
        elif setting is not None:
            source, file = setting.source, str(setting.file.path)
        empty = _is_unset(value)
        text = f"{key.key} is not set" if empty else f"{key.key} = {to_toml(value)}"
        comment = "# " if empty or key.refusal(trusted=True) else ""
        rows.append((f"{comment}{text}", source, {"option": key.key, "value": value, "source": source, "file": file}))
    widest = min(40, max((len(text) for text, _, _ in rows), default=0))
    return [(f"{text:{widest}}  # {source}", fields) for text, source, fields in rows]
