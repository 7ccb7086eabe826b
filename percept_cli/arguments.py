"""The options of the command line that is executed, as they are typed: what decides the pixels of a result."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.core import TyperOption

from percept_cli.conditions import current_context

GIVEN = "percept.given"
"""In a context's `meta`: the values of the command line before they are converted, by the names of the parameters."""

# No pixel depends on these: where inputs come from and results go, and how the work is done and told. The device, the
# precision and the threads are recorded as they were chosen.
UNRELATED = frozenset({
    "photos", "output", "name", "preview", "show", "recursive", "from_file", "null_separated", "overwrite", "skip_existing",
    "quiet", "verbose", "json", "verify_tiles", "device", "precision", "threads", "jobs", "memory", "manifest", "resume",
    "shard", "dry_run", "fail_fast", "max_errors", "watch", "engine", "address", "print_config",
})  # fmt: skip
OF_THIS_RUN = frozenset({"resume", "dry_run", "watch", "print_config"})
"""Options that a repetition leaves out."""
# Options beside those whose values are paths that may name files
MAY_NAME_FILES = frozenset({"model", "extractor", "extractor_weights"})


@dataclass(frozen=True)
class Arguments:
    """A command, its options that change pixels as words of a command line, and the files that these name.

    inputs: what is no option. line: the whole command line, to repeat it.
    """

    command: str
    words: tuple[str, ...]
    files: tuple[str, ...]
    inputs: tuple[str, ...]
    line: tuple[str, ...]


def current_arguments() -> Arguments:
    """The arguments of the command line that is executed, in the order in which the command declares its options."""
    context = current_context()
    if context is None:
        return Arguments("", (), (), (), ())
    words: list[str] = []
    further: list[str] = []
    inputs: list[str] = []
    files: list[str] = []
    for parameter, values in _given(context):
        for value in values:
            if not isinstance(parameter, TyperOption):
                inputs.append(str(value))
            elif parameter.name in OF_THIS_RUN:
                pass
            elif parameter.name in UNRELATED:
                further += _spell(parameter, value)
            else:
                words += _spell(parameter, value)
                if _may_name_file(parameter, context) and _is_ordinary(str(value)):
                    files.append(str(value))
    command = _names(context)
    line = (*command, *words, *further, "--", *inputs) if inputs else (*command, *words, *further)
    return Arguments(" ".join(command), tuple(words), tuple(files), tuple(inputs), line)


def _names(context: Any) -> list[str]:
    """The words that name a command, without the program's."""
    return [] if context.parent is None else [*_names(context.parent), context.info_name]


def _given(context: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The parameters that were given by the command line or by a file of the configuration, with their values."""
    given = context.meta.get(GIVEN, {})
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if source is None:
            continue
        if source.name == "COMMANDLINE":
            value = given.get(parameter.name)
        elif source.name == "DEFAULT_MAP":
            value = context.lookup_default(parameter.name)
        else:
            continue
        if value is not None:
            yield parameter, list(value) if isinstance(value, (list, tuple)) else [value]


def _spell(parameter: Any, value: Any) -> list[str]:
    long = next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0])
    if not parameter.is_flag:
        return [long, str(value)]
    return [long] if value else list(parameter.secondary_opts[:1])


def _may_name_file(parameter: Any, context: Any) -> bool:
    value = context.params.get(parameter.name)
    values = value if isinstance(value, (list, tuple)) else [value]
    return parameter.name in MAY_NAME_FILES or any(isinstance(each, Path) for each in values)


def _is_ordinary(path: str) -> bool:
    """Whether a path is a file or a folder, and no pipe or device, for which a reader would wait."""
    return os.path.isfile(path) or os.path.isdir(path)
