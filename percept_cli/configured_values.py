"""What a file may set: the options that belong into files, and their values as a command line would give them."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from percept_cli.errors import PerceptError, UsageError
from percept_cli.parsing import Names, Scales

OF_ONE_RUN = frozenset({
    "output", "manifest", "from-file", "null", "resume", "shard", "dry-run", "watch", "engine", "address", "preview",
    "rows", "columns", "log", "probe", "print-config",
})  # fmt: skip
"""Long names of options of a single run, which files do not set."""
FILES = frozenset({
    "model", "style", "mask", "data", "start", "extractor", "extractor-weights", "comparator", "comparator-weights", "teacher",
    "source", "target", "paintings", "held-out",
})  # fmt: skip
"""Long names of options that may name files and folders to read; no other path comes from a file."""


@dataclass(frozen=True)
class Key:
    """An option of a command as a file may set it. name: of its value. key: its long name, without the dashes."""

    name: str
    key: str
    parameter: Any
    annotation: Any

    def refusal(self, trusted: bool) -> str | None:
        """Why a file does not set the option, as the end of a sentence; None where it may. trusted: the user's own file."""
        writes = self.key == "data" and not self.parameter.multiple  # the numbers of a picture, not photographs
        if self.key in OF_ONE_RUN or writes or (self.key not in FILES and _is_path(self.annotation)):
            return "is of a single run: give it on the command line."
        if self.key == "overwrite" and not trusted:
            return "would replace the files of whoever works in this folder: write it into your own file."
        return None


def keys_of(command: Any) -> dict[str, Key]:
    """The options of a command by their keys."""
    annotations = {name: each.annotation for name, each in inspect.signature(command.callback).parameters.items()}
    found = {}
    for parameter in command.params:
        long = next((spelling for spelling in parameter.opts if spelling.startswith("--")), None)
        if long is not None:
            annotation = _bare(annotations.get(parameter.name, bool))
            found[long[2:]] = Key(parameter.name, long[2:], parameter, annotation)
    return found


def check_value(key: Key, value: Any, file: Path, *, trusted: bool) -> Any:
    """The value of a file as the command line would give it: a text, a list of them or a truth value.

    file: paths are relative to its folder, and stay in it unless the file is `trusted`. Raises UsageError for a value that
    the option refuses.
    """
    taken = _as_text(key, value)
    if key.key in FILES:
        places = taken if isinstance(taken, list) else [taken]
        places = [_placed(key, text, file, trusted=trusted) for text in places]
        taken = places if isinstance(taken, list) else places[0]
    try:
        key.parameter.process_value(None, taken)
    except typer.BadParameter as error:
        raise UsageError(f"{_plain(value)} is refused: {error.message.removesuffix('.')}.") from error
    except PerceptError as error:
        raise UsageError(str(error)) from error
    return taken


def _as_text(key: Key, value: Any) -> Any:
    """Raises UsageError for a value of another type than the option's."""
    comma = key.annotation in (Names, Scales) or "," in (key.parameter.metavar or "")
    kinds: tuple[type, ...] = (str, int, float)
    if getattr(key.parameter, "is_flag", False):
        kinds, wanted = (bool,), "true or false"
    elif key.annotation is int:
        kinds, wanted = (int,), "a whole number"
    elif key.annotation is float:
        kinds, wanted = (int, float), "a number"
    elif key.parameter.multiple or comma:
        wanted = "a text or a list of texts"
    else:
        wanted = "a text" if _is_path(key.annotation) or key.key in FILES else "a text or a number"
    single = not isinstance(value, list)
    values = [value] if single else value
    several = key.parameter.multiple or comma
    fits = all(isinstance(each, kinds) and (isinstance(each, bool) == (kinds == (bool,))) for each in values)
    if not fits or (not single and (not several or not values)):
        raise UsageError(f"{_plain(value)} is given, {wanted} is wanted.")
    if kinds == (bool,):
        return value
    texts = [each if isinstance(each, str) else repr(each) for each in values]
    return texts if key.parameter.multiple else ",".join(texts)


def _placed(key: Key, text: str, file: Path, *, trusted: bool) -> str:
    """A path of a file from where percept runs; names of shipped models and networks stay as they are."""
    name, equals, given = text.rpartition("=") if key.key == "teacher" else ("", "", text)
    is_path = _is_path(key.annotation) or "/" in given or "\\" in given or Path(given).suffix
    if not is_path or "://" in given:  # an address is refused by the command, which says why
        return text
    path = file.parent / os.path.expanduser(given)
    if not trusted and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(file.parent)):
        raise UsageError(
            f"'{given}' leads out of the folder of the file, which may be somebody else's: give it on the command line."
        )
    return f"{name}{equals}{path}"


def _bare(annotation: Any) -> Any:
    """The type of an option without what is beside it and without None."""
    while get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    given = [each for each in get_args(annotation) if each is not type(None)]
    return given[0] if len(given) == 1 and get_origin(annotation) is not list else annotation


def _is_path(annotation: Any) -> bool:
    return Path in (annotation, *get_args(annotation))


def _plain(value: Any) -> str:
    """A value of a file for messages, as TOML writes it."""
    return {dict: "a table"}.get(type(value)) or to_toml(value)


def to_toml(value: Any) -> str:
    """A value of an option as TOML writes it."""
    import json

    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name} = {to_toml(each)}' for name, each in value.items())}}}"
    return json.dumps(str(value), ensure_ascii=False)
