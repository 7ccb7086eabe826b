"""`percept rerun`: a result made again by the record in its file, and compared with it."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from percept_cli import __version__, options
from percept_cli.arguments import UNRELATED
from percept_cli.conditions import current_context
from percept_cli.configuration import OFF
from percept_cli.core.images.provenance import name_of
from percept_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from percept_cli.console import Console
    from percept_cli.core.batches.reruns import Difference
    from percept_cli.core.images.provenance import Record

COMMANDS = ("stylize", "upscale", "invert")


def rerun(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A picture that percept made.")],
    input: Annotated[
        Path | None,
        typer.Option(help="The photograph. Default: the file of its name beside RESULT or in the current folder."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A painting, mask or model that was used, where it is neither beside RESULT nor in the current folder; may be "
            "repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Keep the new picture in this file. Default: it is only compared."),
    ] = None,
    *,
    report: options.Report,
) -> None:
    """Make a result again, by the record of options and hashes in its file, and compare: identical, or how much differs.

    percept rerun photo_wave.jpg

    percept rerun restyled/photo_wave.jpg --input photo.jpg -o again.jpg
    """
    from percept_cli.core.batches.reruns import check_models, compare_results, extension_of, find_files, find_input
    from percept_cli.core.images.decode import read_record

    console = report.console()
    record = read_record(result)
    words = _check_words(record, result)
    _warn_of_versions(record, console)
    check_models(record, result)
    photo = find_input(record, result, input)
    files = find_files(record, result, file or [])
    extension = extension_of(result)
    if output is not None:
        _check_output(output, extension, result)
    with tempfile.TemporaryDirectory(prefix="percept-") as folder:
        again = output or Path(folder, f"again{extension}")
        console.say(f"{result}: percept {record.command} {' '.join(words)}".rstrip())
        _run(record, [*_with_files(words, files), "--output", str(again), "--quiet", "--", str(photo)])
        difference = compare_results(again, result)
    _report(result, output, difference, console)
    if not difference.same_pixels:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _check_words(record: "Record", result: Path) -> list[str]:
    """The words of the record's arguments. Raises UsageError for any that percept does not record.

    A file may come from anyone, and its record must not write over files or read others than the named ones.
    """
    if record.command not in COMMANDS:
        raise UsageError(f"The record in '{result}' is of no command that makes pictures: '{record.command}'.")
    context = current_context()
    assert context is not None
    command = context.find_root().command.commands[record.command]
    words = list(record.arguments)
    try:
        values, rest, order = command.make_parser(typer.Context(command)).parse_args(args=list(words))
    except Exception as error:
        raise UsageError(f"This version of percept does not know the arguments of '{result}': {error}") from error
    strange = list(rest)
    for parameter in order:
        value = values.get(parameter.name)
        several = list(value) if isinstance(value, (list, tuple)) else [value]
        if parameter.param_type_name == "argument":
            strange += filter(None, several)  # of pictures, where there are any
        elif parameter.name in (*UNRELATED, "help"):
            strange.append(parameter.opts[0])
        strange += [word for word in several if isinstance(word, str) and name_of(word) != word]
    if strange:
        raise UsageError(f"The record in '{result}' holds '{strange[0]}', which percept does not record.")
    return words


def _with_files(words: Sequence[str], files: Mapping[str, Path]) -> list[str]:
    return [str(files.get(word, word)) for word in words]


def _warn_of_versions(record: "Record", console: "Console") -> None:
    import torch

    for name, then, now in (("percept", record.percept, __version__), ("torch", record.torch, torch.__version__)):
        if then != now:
            console.warn(f"{name} {then} made it, and this is {now}: the pixels may differ")


def _check_output(output: Path, extension: str, result: Path) -> None:
    from percept_cli.core.files.formats import find_format

    if find_format(output.suffix) != find_format(extension):
        raise UsageError(
            f"-o {output}: '{result}' is a {find_format(extension).name} file; end the name in {extension}."
        )
    if output.exists():
        raise UsageError(f"-o {output} exists: give a name that is free.")


def _run(record: "Record", words: list[str]) -> None:
    """Runs the command of a record, without the options of the user's files, as the record holds those that were used."""
    context = current_context()
    assert context is not None
    root: Any = context.find_root()
    command = root.command.commands[record.command]
    machine = ["--device", record.device, "--precision", record.precision, "--threads", str(record.threads)]
    before = os.environ.get(OFF)
    os.environ[OFF] = "1"
    try:
        with command.make_context(record.command, [*machine, *words], parent=root) as inner:
            command.invoke(inner)
    finally:
        del os.environ[OFF]
        os.environ |= {} if before is None else {OFF: before}


def _report(result: Path, output: Path | None, difference: "Difference", console: "Console") -> None:
    if difference.identical:
        status, text = "identical", "identical"
    elif difference.same_pixels:
        status, text = "same pixels", "the same pixels, with other metadata"
    elif difference.sizes is not None:
        (height, width), (other_height, other_width) = difference.sizes
        status, text = "different", f"another size: {width}x{height} pixels, not {other_width}x{other_height}"
    else:
        status = "different"
        text = f"{100 * difference.share:.3g} % of the pixels differ, by at most {difference.largest:.3g} gray levels"
    console.figures(
        f"{result}: {text}", result=result, status=status, share=difference.share, largest=difference.largest, output=output
    )  # fmt: skip
