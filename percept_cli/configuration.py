"""Options from files: the user's `percept.toml` and that of the current folder are found, read, checked and merged.

Keys at the top of a file are for every command that has the option, those of `[train]` for every training, those of
`[train.style]` for one command. The nearer file and the narrower table win; the command line is above both.
"""

import os
import stat
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from percept_cli.configured_values import Key, check_value, keys_of
from percept_cli.errors import UsageError, unknown_name

NAME = "percept.toml"
OFF = "PERCEPT_NO_CONFIG"
LARGEST = 1_000_000  # bytes; the files that people write have hundreds
Tree = Any
"""A command, or a group with its commands in `.commands`."""


@dataclass(frozen=True)
class ConfigFile:
    """One file: its tables, where they are from, and how near it is; trusted: whether it is the user's own."""

    path: Path
    tables: Mapping[str, Any]
    trusted: bool

    @property
    def owner(self) -> str:
        """Whose file it is, for messages."""
        return "user" if self.trusted else "folder"

    def where(self, table: tuple[str, ...] = ()) -> str:
        """A place in the file, for messages: `percept.toml, [train.style]`."""
        return f"{self.path}, [{'.'.join(table)}]" if table else str(self.path)


@dataclass(frozen=True)
class Setting:
    """The value of an option from a file, as a command line would give it.

    key: as the file spells it. rank: a nearer file has a higher one, and within a file a narrower table.
    """

    value: Any
    key: str
    file: ConfigFile
    table: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int]:
        """What wins over what: values of a nearer file, then those of a narrower table."""
        return (0 if self.file.trusted else 1, len(self.table))

    @property
    def source(self) -> str:
        """Where the value is from, for people."""
        return f"{self.file.owner}'s {self.file.where(self.table)}"


def user_file() -> Path:
    """The user's own file, in the place of the system for settings: $XDG_CONFIG_HOME/percept, else ~/.config/percept."""
    folder = Path(typer.get_app_dir("percept"))
    # An empty or relative $XDG_CONFIG_HOME is to be ignored; the current folder is not the user's place of settings.
    return (folder if folder.is_absolute() else Path.home() / ".config" / "percept") / NAME


def settings_for(tree: Tree, command: tuple[str, ...]) -> dict[str, Setting]:
    """The options that files set for a command, by the names of their values; none with PERCEPT_NO_CONFIG=1.

    tree: all commands. Raises UsageError for a file that cannot be read, is no TOML or has a key or a value that no command
    takes.
    """
    found: dict[str, Setting] = {}
    if os.environ.get(OFF, "") not in ("", "0"):
        return found
    for file in _read_files():
        _check_names(file, tree, (), file.tables)
        leaf = tree
        tables: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), file.tables)]
        for name in command:
            leaf = leaf.commands[name]
            tables.append((tables[-1][0] + (name,), _subtable(tables[-1][1], name)))
        keys = keys_of(leaf)
        for place, table in tables:  # the narrower table replaces what the wider one has set
            for written, value in table.items():
                key = keys.get(_spelled(written))
                if key is not None and not isinstance(value, dict) and key.refusal(file.trusted) is None:
                    try:
                        taken = check_value(key, value, file.path, trusted=file.trusted)
                    except UsageError as error:
                        raise UsageError(f"{file.where(place)}: {written}: {error}") from error
                    found[key.name] = Setting(taken, written, file, place)
    return found


def command_path(tree: Tree, names: tuple[str, ...]) -> tuple[str, ...]:
    """The path of a command in the tables: `train-style`, another spelling of it, is that of `train style`."""
    group, dash, rest = names[0].partition("-")
    if len(names) == 1 and dash and rest in getattr(tree.commands.get(group), "commands", {}):
        return (group, rest)
    return names


def explain(message: str, settings: Mapping[str, Setting], options: Mapping[str, list[str]]) -> str:
    """A message with the places of the options of files that it speaks of, by their spellings or their values.

    options: the spellings of each setting's option.
    """
    words = set(message.replace(",", " ").replace(":", " ").replace(";", " ").replace("'", " ").split())
    words |= {word.rstrip(".") for word in words}
    places = [
        f"{setting.key} is set in the {setting.source}."
        for name, setting in settings.items()
        if words & set(options[name]) or (isinstance(setting.value, str) and setting.value in words)
    ]
    return " ".join([message, *places])


def _read_files() -> Iterator[ConfigFile]:
    """The user's file and that of the current folder, where there are any."""
    own, here = user_file(), Path(NAME)
    if _exists(own):
        yield ConfigFile(own, _read(own), trusted=True)
    if _exists(here) and not (_exists(own) and os.path.samefile(own, here)):
        yield ConfigFile(here, _read(here), trusted=False)


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError:  # also where its folder is closed to this user, as for `sudo -u`
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises UsageError, with the line, for one that cannot be read."""
    try:
        status = path.stat()
        # Opening a pipe would wait for a writer.
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise UsageError(f"{path}: this is no file of settings; move it away, or set {OFF}=1 to read none.")
        data = path.read_bytes()
    except OSError as error:
        advice = f"make it readable, or set {OFF}=1 to read none"
        raise UsageError(f"{path} cannot be read, {error.strerror}: {advice}.") from error
    try:
        tables = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {number}: this is no UTF-8 text; save it as UTF-8.") from error
    except ValueError as error:  # tomllib's, or an integer of thousands of digits
        message, _, place = str(error).partition(" (at ")
        end = data.count(b"\n") + 1
        line = place.split(",")[0] if place.startswith("line") else f"line {end}"
        raise UsageError(f"{path}, {line}: this is no TOML, {message.lower()}. Write lines as: tile = 512") from error
    except RecursionError as error:
        raise UsageError(f"{path} is no file of settings: its values are nested too deep.") from error
    if any(unicodedata.category(character) == "Cc" for text in _texts(tables) for character in text):
        raise UsageError(f"{path}: a key or a value holds a control character, which a terminal would obey: remove it.")
    return tables


def _texts(value: Any) -> Iterator[str]:
    """All keys and texts of a value."""
    if isinstance(value, str):
        yield value
    for inner in value if isinstance(value, (dict, list)) else ():
        yield from _texts(inner)
    for inner in value.values() if isinstance(value, dict) else ():
        yield from _texts(inner)


def _spelled(written: str) -> str:
    return written.replace("_", "-")


def _subtable(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The table of a command, whether it is written with `-` or with `_`; empty without one."""
    return next((inner for key, inner in table.items() if _spelled(key) == name and isinstance(inner, dict)), {})


def _commands(tree: Tree) -> dict[str, Tree]:
    return {name: inner for name, inner in getattr(tree, "commands", {}).items() if not inner.hidden}


def _leaves(tree: Tree) -> Iterator[Tree]:
    inner = _commands(tree)
    if not inner:
        yield tree
    for each in inner.values():
        yield from _leaves(each)


def _check_names(file: ConfigFile, tree: Tree, table: tuple[str, ...], content: Mapping[str, Any]) -> None:
    """Raises UsageError for a key or a table of a file that no command has, and for what does not belong into files."""
    commands = _commands(tree)
    known: dict[str, list[Key]] = {}
    for leaf in _leaves(tree):
        for spelling, key in keys_of(leaf).items():
            known.setdefault(spelling, []).append(key)
    seen: set[str] = set()
    for written, value in content.items():
        name, where = _spelled(written), file.where(table)
        if name in seen:
            raise UsageError(f"{where}: {written} is given twice, with - and with _: leave one of them out.")
        seen.add(name)
        if name in commands:
            if not isinstance(value, dict):
                path = ".".join((*table, name))
                raise UsageError(f"{where}: {written} is a command: write its options below a line [{path}].")
            _check_names(file, commands[name], (*table, name), value)
        elif name not in known:
            kind = "command" if isinstance(value, dict) else "option"
            names = commands if isinstance(value, dict) else known
            command = " ".join(("percept", *table))
            hint = f"{command} --help lists its {kind}s."
            raise UsageError(f"{where}: {unknown_name(kind, written, names, hint=hint, listed=False)}")
        elif all(reasons := [key.refusal(file.trusted) for key in known[name]]):
            raise UsageError(f"{where}: {written} {reasons[0]}")
        elif isinstance(value, dict):
            raise UsageError(f"{where}: {written} is an option, not a command: write {written} = VALUE.")
