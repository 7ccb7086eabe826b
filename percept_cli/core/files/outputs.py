"""The files that a command writes: their names, their folders, and the conflicts that are refused before any work."""

import os
import string
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from percept_cli.core.files.atomic import prepare_folder
from percept_cli.core.files.formats import ANIMATED, WRITABLE, find_format
from percept_cli.core.files.frames import ALL
from percept_cli.core.files.inputs import InputItem, label_of
from percept_cli.errors import UsageError, unknown_name

TEMPLATE_FIELDS = ("rel", "stem", "ext", "op", "model", "name")

# On these systems two names that differ only in case are one file.
_IGNORES_CASE = sys.platform in ("win32", "darwin")


def check_model_output(output: Path, overwrite: bool) -> None:
    """Raises UsageError where a model cannot be written to `output`.

    That is for a wrong suffix, a folder that is missing or read-only, and a file that exists unless `overwrite`.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: a model is a .safetensors file; give a name that ends so.")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: the folder {output.parent} does not exist. Create it first.")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists. Give --overwrite to replace it, or another --output.")
    prepare_folder(output.parent)


def check_picture_output(option: str, path: Path) -> None:
    """Raises UsageError where a picture cannot be written to the path that an option gives."""
    find_format(path.suffix)
    if path.is_dir():
        raise UsageError(f"{option} {path}: this is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: the folder {path.parent} does not exist. Create it first.")
    prepare_folder(path.parent)


class _RealFolders(dict[Path, str]):
    """Folder -> its path with every link followed, as text; each is looked up once, as a batch has few folders."""

    def __missing__(self, folder: Path) -> str:
        self[folder] = os.path.realpath(folder)
        return self[folder]

    def place(self, path: Path) -> str:
        """One text for all paths to one file. Links to folders are followed; a link to a file is not, as writing replaces it."""
        place = os.path.join(self[path.parent], path.name)
        return place.casefold() if _IGNORES_CASE else place


@dataclass(frozen=True)
class Job:
    """One image to read (None: standard input) and the file to write (None: standard output).

    skip: it is done already. overwrite: whether the result may replace a file that exists when it is written. frames: the
    number of the frame of an animation that is taken, from 1, or `all`; None where animations are refused.
    """

    source: Path | None
    destination: Path | None
    skip: bool = False
    overwrite: bool = False
    frames: int | str | None = None

    @property
    def label(self) -> str:
        """Its name in messages: that of its source."""
        return label_of(self.source)


def plan_outputs(
    items: Sequence[InputItem],
    output: str | None,
    *,
    name: str,
    op: str,
    model: str = "",
    others: Sequence[str] = (),
    own: Container[str] = (),
    wanted: Callable[[InputItem], bool] = lambda item: True,
    frames: int | str | None = None,
    overwrite: bool,
    skip_existing: bool,
) -> list[Job]:
    """One job for each input that is wanted, in order. Raises UsageError for all faults that can be found before any work.

    output: a folder where it exists as one, ends in a slash or there are several inputs; else a file; `-` is standard
    output; None puts each result beside its input. name: the template of names in a folder, with the fields `rel` (the
    input's folder below the one that was searched), `stem`, `ext` (the input's extension, `.png` where percept cannot
    write it), `name` (the input's, with its own extension), `op` and `model`; a result lies in the folder `rel` unless
    `name` has that field. others: further extensions that the file `output` may have, as `.svg`. own: absolute paths of
    results that an earlier run has made, and that may be replaced. wanted: of the inputs that are not, only the names of
    results are compared. frames: those of every job; `all` may also be written as files that hold nothing but animations,
    as `.gif`, and such inputs keep their extension.
    """
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other: give one of them.")
    # A model's name may hold slashes, 'owner/model', which would make folders.
    values = {"op": op, "model": model.replace("/", "-").replace("\\", "-")}
    keep_tree = "rel" not in _template_fields(name)
    real_folders = _RealFolders()
    if output == "-":
        if len(items) != 1:
            raise UsageError(f"Standard output takes one image, not {len(items)}: give -o a folder.")
        return [Job(items[0].source, None, frames=frames)]
    written: Sequence[str] = (*WRITABLE, *(each for each in ANIMATED if frames == ALL and each not in WRITABLE))
    if output is not None and not is_folder_output(output, len(items)):
        jobs = [Job(items[0].source, _single_file(output, (*written, *others)))]
    else:
        folder = None if output is None else Path(output)
        jobs = [
            Job(item.source, None)
            # A folder among the inputs cannot be read, and so has no result.
            if (folder is None and item.source is None) or (item.source is not None and os.path.isdir(item.source))
            else Job(item.source, _place(item, folder, name, values, real_folders, written, keep_tree=keep_tree))
            for item in items
        ]
    jobs = [replace(job, frames=frames) for job in jobs]
    _refuse_shared(jobs, items, real_folders)
    done = _refuse_or_find_inputs(jobs, real_folders, skip_existing)
    jobs = [job for job, item in zip(jobs, items, strict=True) if wanted(item)]
    jobs = _settle_existing(jobs, done, own, overwrite, skip_existing)
    for place in sorted({job.destination.parent for job in jobs if job.destination is not None and not job.skip}):
        prepare_folder(place)
    return jobs


def create_folders(jobs: Iterable[Job]) -> None:
    """Makes the folders that the jobs write into, without those to skip. Raises UsageError where that is not possible."""
    for folder in {job.destination.parent for job in jobs if job.destination is not None and not job.skip}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"The folder '{folder}' cannot be made: {error.strerror or error}.") from error


def is_folder_output(output: str, count: int) -> bool:
    """Whether -o names a folder for so many inputs. Raises UsageError for several inputs and the name of one file."""
    separators = tuple(separator for separator in ("/", os.sep, os.altsep) if separator)
    if os.path.isdir(output) or output.endswith(separators):
        return True
    if count > 1 and (os.path.exists(output) or Path(output).suffix.lower() in WRITABLE):
        raise UsageError(f"-o '{output}' is one file for {count} inputs: for a folder of that name, end it in '/'.")
    return count > 1


def _single_file(output: str, written: Sequence[str]) -> Path:
    path = Path(output)
    if not path.suffix:
        allowed = ", ".join(written)
        raise UsageError(f"-o '{output}' has no extension: add one ({allowed}), or end it in '/' for a folder.")
    if path.suffix.lower() not in written:
        raise UsageError(unknown_name("output extension", path.suffix, written))
    if not path.parent.is_dir():
        raise UsageError(f"The folder '{path.parent}' of -o '{output}' does not exist: make it first.")
    return path


def _template_fields(name: str) -> set[str]:
    try:
        parts = list(string.Formatter().parse(name))
    except ValueError as error:
        raise UsageError(f"--name '{name}' is not a template: {error}.") from error
    fields = set()
    for _, field, specification, conversion in parts:
        if field is None:
            continue
        # '{stem.x}' and '{stem[0]}' are refused too, so that a template cannot read attributes of objects.
        if field not in TEMPLATE_FIELDS:
            known = [f"{{{known}}}" for known in TEMPLATE_FIELDS]
            raise UsageError(unknown_name("field of --name", f"{{{field}}}", known))
        if specification or conversion:
            raise UsageError(f"--name '{name}': write {{{field}}} alone, without ':' or '!'.")
        fields.add(field)
    return fields


def _place(
    item: InputItem,
    folder: Path | None,
    name: str,
    values: Mapping[str, str],
    real_folders: _RealFolders,
    written: Sequence[str],
    *,
    keep_tree: bool,
) -> Path:
    """The path of an input's result, in `folder` or beside the input: the template `name` filled in.

    written: the extensions that it may have.
    """
    own = item.relative.suffix
    extension = own if own.lower() in written else ".png"
    rendered = name.format(
        rel=item.relative.parent.as_posix(), name=item.relative.name, stem=item.relative.stem, ext=extension, **values
    )
    root = folder
    if root is None:
        assert item.source is not None
        root = item.source.parents[len(item.relative.parts) - 1]
    below = (item.relative.parent if keep_tree else Path()) / rendered
    if below.is_absolute() or below.drive or ".." in below.parts:
        raise UsageError(f"--name gives '{rendered}' for '{item.label}', which leads out of the folder '{root}'.")
    if not below.name or rendered.endswith(("/", os.sep)):
        raise UsageError(f"--name gives no file name for '{item.label}'.")
    if below.suffix.lower() not in written:
        raise UsageError(
            f"--name gives '{rendered}', which cannot be written: end it in {{ext}} or in one of {', '.join(written)}."
        )
    destination = root / below
    if not Path(real_folders[destination.parent]).is_relative_to(real_folders[root]):
        raise UsageError(f"'{destination}' leads through a link out of the folder '{root}'.")
    return destination


def _refuse_shared(jobs: Sequence[Job], items: Sequence[InputItem], real_folders: _RealFolders) -> None:
    writers: dict[str, InputItem] = {}
    for job, item in zip(jobs, items, strict=True):
        if job.destination is None:
            continue
        first = writers.setdefault(real_folders.place(job.destination), item)
        if first is not item:
            paths = [str(each.relative) for each in (first, item)]
            differ = paths[0].casefold() != paths[1].casefold() if _IGNORES_CASE else paths[0] != paths[1]
            # Below one folder, the whole name is in no other; of two folders, the inputs may be called the same.
            advice = "--name '{name}_{op}{ext}' tells them apart" if differ else "give each a command and -o of its own"
            raise UsageError(
                f"'{first.label}' and '{job.label}' would both be written to '{job.destination}': {advice}."
            )


def _refuse_or_find_inputs(jobs: Sequence[Job], real_folders: _RealFolders, skip_existing: bool) -> set[Job]:
    """The jobs that are done because their inputs are results of other jobs. Raises UsageError without `skip_existing`.

    A second run over a folder that also holds the results of the first finds these as inputs. With `skip_existing`
    they are not processed again, so that an interrupted batch can go on. No job may write over its own input.
    """
    readers: dict[str, Job] = {}
    for job in jobs:
        if job.source is not None:
            readers[real_folders.place(job.source)] = job
            if os.path.islink(job.source):
                readers.setdefault(real_folders.place(Path(os.path.realpath(job.source))), job)
    done = set()
    for job in jobs:
        reader = None if job.destination is None else readers.get(real_folders.place(job.destination))
        if reader is None:
            continue
        if not skip_existing or reader is job:
            raise UsageError(
                f"'{job.destination}' is an input and would be written over by the result of '{job.label}': "
                "choose another -o or --name."
            )
        done.add(reader)
    return done


def _settle_existing(
    jobs: Sequence[Job], done: set[Job], own: Container[str], overwrite: bool, skip_existing: bool
) -> list[Job]:
    existing = [
        job
        for job in jobs
        if job.destination is not None
        and os.path.lexists(job.destination)
        and os.path.normpath(job.destination.absolute()) not in own
    ]
    for job in existing:
        if job.destination is not None and os.path.isdir(job.destination):
            raise UsageError(f"'{job.destination}' is a folder: no image can be written in its place.")
    if existing and not overwrite and not skip_existing:
        what = "1 output exists" if len(existing) == 1 else f"{len(existing)} outputs exist"
        first = "" if len(existing) == 1 else "the first is "
        raise UsageError(f"{what} already ({first}'{existing[0].destination}'): add --overwrite or --skip-existing.")
    skipped = done.union(existing) if skip_existing else set()
    return [replace(job, skip=job in skipped, overwrite=overwrite) for job in jobs]
