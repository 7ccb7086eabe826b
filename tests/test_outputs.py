"""What a batch reads, where it writes, and what is refused before any work."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from percept_cli.core.files.inputs import InputItem, expand_inputs
from percept_cli.core.files.outputs import Job, create_folders, plan_outputs
from percept_cli.errors import UsageError


@pytest.fixture(autouse=True)
def _work_in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_images(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(name, "PNG")


def expand(*inputs: str, recursive: bool = False, **options: Any) -> list[InputItem]:
    return expand_inputs(inputs, recursive=recursive, from_file=options.pop("from_file", None), **options)


def sources(*inputs: str, **options: Any) -> list[str]:
    return [item.label for item in expand(*inputs, **options)]


def plan(items: list[InputItem], output: str | None = None, **options: Any) -> list[Job]:
    defaults: dict[str, Any] = {
        "name": "{stem}_{op}{ext}",
        "op": "upscale",
        "overwrite": False,
        "skip_existing": False,
    }
    return plan_outputs(items, output, **{**defaults, **options})


def destinations(items: list[InputItem], output: str | None = None, **options: Any) -> list[str]:
    return ["-" if job.destination is None else job.destination.as_posix() for job in plan(items, output, **options)]


def test_needs_no_torch() -> None:
    """Batches are planned, and refused, before the seconds that loading torch takes."""
    code = "import percept_cli.core.files.outputs, sys; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# --- what is read ---


def test_a_folder_gives_its_images_in_order() -> None:
    """Images only, sorted, without hidden files and without the folders below."""
    write_images("photos/b.jpg", "photos/a.PNG", "photos/.hidden.png", "photos/deep/c.png")
    Path("photos/notes.txt").touch()
    assert sources("photos") == ["photos/a.PNG", "photos/b.jpg"]


def test_recursive_gives_the_tree_and_keeps_the_path_below_the_folder() -> None:
    """`relative` is what rebuilds the tree below -o; hidden folders are left alone."""
    write_images("photos/b.jpg", "photos/deep/er/c.png", "photos/.cache/d.png")
    items = expand("photos", recursive=True)
    assert [item.relative.as_posix() for item in items] == ["b.jpg", "deep/er/c.png"]
    assert [item.label for item in items] == ["photos/b.jpg", "photos/deep/er/c.png"]


def test_typed_files_are_taken_as_they_are() -> None:
    """A file typed by name is tried whatever it is called; a missing one fails later, alone."""
    write_images("photos/a.png", "odd.dat")
    assert sources("odd.dat", "missing.jpg", "photos/a.png") == ["odd.dat", "missing.jpg", "photos/a.png"]
    assert expand("photos/a.png")[0].relative == Path("a.png")


def test_patterns_are_expanded_for_shells_that_do_not() -> None:
    """A quoted pattern, or any on Windows, gives its images; the tree it spans is kept."""
    write_images("photos/x/b.png", "photos/y/b.png", "photos/a.png")
    Path("photos/notes.txt").touch()
    assert sources("photos/*") == ["photos/a.png", "photos/x/b.png", "photos/y/b.png"]
    assert [item.relative.as_posix() for item in expand("photos/**/b.png")] == ["x/b.png", "y/b.png"]


def test_a_name_with_brackets_is_a_name_first() -> None:
    """`photo[1].jpg`, as browsers save it, is not taken for a pattern when it exists."""
    write_images("photo[1].jpg", "photo1.jpg")
    assert sources("photo[1].jpg") == ["photo[1].jpg"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["*.jpg"], r"No image matches '\*\.jpg'"),
        (["empty"], r"The folder 'empty' holds no image, add -r"),
        ([""], "empty text"),
        ([], "No image was given"),
    ],
)
def test_inputs_that_name_nothing_are_refused(inputs: list[str], message: str) -> None:
    """A pattern without a match, a folder without images, an unset variable and no input at all each say so."""
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=message):
        expand(*inputs)


def test_duplicates_are_read_once_where_they_came_first() -> None:
    """A file named twice, or in a folder that is named too, is one input."""
    write_images("photos/a.png", "photos/b.png")
    assert sources("photos/b.png", "photos", "./photos/a.png", "-", "-") == [
        "photos/b.png",
        "photos/a.png",
        "standard input",
    ]


def test_a_list_of_files() -> None:
    """One path a line, of any editor; in a list `-` and `*` are plain characters."""
    Path("list.txt").write_bytes(b"\xef\xbb\xbfa b.png\r\n\n-\nphoto*.png")
    assert expand(from_file=Path("list.txt")) == [
        InputItem(Path("a b.png"), Path("a b.png")),
        InputItem(Path("-"), Path("-")),
        InputItem(Path("photo*.png"), Path("photo*.png")),
    ]


def test_a_null_separated_list() -> None:
    """`find -print0` gives names that may hold line breaks; read as lines it is refused with the reason."""
    Path("list").write_bytes(b"a\nb.png\0c.png\0")
    assert sources(from_file=Path("list"), null_separated=True) == ["a\nb.png", "c.png"]
    with pytest.raises(UsageError, match="holds null bytes"):
        expand(from_file=Path("list"))


def test_a_list_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--from-file -` reads paths, and cannot share standard input with an image."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.png\nb.png\n")))
    assert sources("c.png", from_file=Path("-")) == ["c.png", "a.png", "b.png"]
    with pytest.raises(UsageError, match="Standard input cannot be both"):
        expand("-", from_file=Path("-"))


def test_a_list_that_is_missing_or_empty_is_refused() -> None:
    """Neither passes for a batch of nothing."""
    Path("list").write_text("\n\n")
    with pytest.raises(UsageError, match="The list 'list' names no image"):
        expand(from_file=Path("list"))
    with pytest.raises(UsageError, match="The list 'none' cannot be read: No such file"):
        expand(from_file=Path("none"))


# --- where it is written ---


def test_results_lie_beside_their_inputs() -> None:
    """Without -o every result is in the folder of its input, also deep in a tree."""
    write_images("photos/a.png", "photos/deep/b.jpg")
    items = expand("photos", recursive=True)
    assert destinations(items) == ["photos/a_upscale.png", "photos/deep/b_upscale.jpg"]


def test_output_is_a_file_or_a_folder() -> None:
    """-o is a folder when it exists as one, ends in a slash or there is more than one input."""
    write_images("a.png", "b.png")
    Path("there").mkdir()
    one, two = expand("a.png"), expand("a.png", "b.png")
    assert destinations(one, "x.jpg") == ["x.jpg"]
    assert destinations(one, "there") == ["there/a_upscale.png"]
    assert destinations(one, "new/") == ["new/a_upscale.png"]
    assert destinations(two, "new") == ["new/a_upscale.png", "new/b_upscale.png"]


def test_the_tree_is_kept_below_the_output() -> None:
    """Files of one name in different folders stay apart; `{rel}` places the folder where the user wants it."""
    write_images("photos/x/a.png", "photos/y/a.png")
    items = expand("photos", recursive=True)
    assert destinations(items, "out") == ["out/x/a_upscale.png", "out/y/a_upscale.png"]
    assert destinations(items, "out", name="{op}/{rel}/{stem}{ext}") == ["out/upscale/x/a.png", "out/upscale/y/a.png"]
    assert destinations(items, None, name="{rel}/big/{stem}{ext}") == ["photos/x/big/a.png", "photos/y/big/a.png"]


def test_the_name_template() -> None:
    """All five fields, filled in; a model's owner does not become a folder."""
    write_images("a.b.png")
    name = "{rel}/{stem}-{op}-{model}{ext}"
    assert destinations(expand("a.b.png"), name=name, model="owner/night") == ["a.b-upscale-owner-night.png"]


def test_extensions() -> None:
    """The input's own, unless it cannot be written."""
    write_images("a.gif", "b.JPG", "c")
    items = expand("a.gif", "b.JPG", "c")
    assert destinations(items) == ["a_upscale.png", "b_upscale.JPG", "c_upscale.png"]


def test_standard_streams() -> None:
    """One image can go to standard output; standard input goes there unless told otherwise."""
    write_images("a.png", "b.png")
    assert plan(expand("-")) == [Job(None, None)]
    assert plan(expand("a.png"), "-") == [Job(Path("a.png"), None)]
    assert destinations(expand("-"), "out/") == ["out/stdin_upscale.png"]
    assert destinations(expand("-", "a.png")) == ["-", "a_upscale.png"]
    with pytest.raises(UsageError, match="Standard output takes one image, not 2"):
        plan(expand("a.png", "b.png"), "-")


def test_planning_writes_nothing() -> None:
    """Folders are made only when asked for, and only those of work that is to be done."""
    write_images("photos/x/a.png", "photos/y/a.png", "out/y/a_upscale.png")
    jobs = plan(expand("photos", recursive=True), "out", skip_existing=True)
    assert not Path("out/x").exists()
    create_folders(jobs)
    assert Path("out/x").is_dir()
    Path("file").touch()
    with pytest.raises(UsageError, match="The folder 'file/new' cannot be made"):
        create_folders([Job(None, Path("file/new/a.png"))])


# --- what is refused ---


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("result", r"'result' has no extension: add one \(\.png.*or end it in '/'"),
        ("result.gif", r"Unknown output extension '\.gif'"),
        ("missing/result.png", "The folder 'missing' of -o 'missing/result.png' does not exist"),
        ("a.png/x.png", "does not exist"),
    ],
)
def test_a_single_output_that_cannot_be_written_is_refused(output: str, message: str) -> None:
    """A wrong -o is found before the work and not after it."""
    write_images("a.png")
    with pytest.raises(UsageError, match=message):
        plan(expand("a.png"), output)


def test_one_output_file_for_many_inputs_is_refused() -> None:
    """`-o all.png` for two images is a slip; `-o all.png/` says that a folder is meant."""
    write_images("a.png", "b.png")
    items = expand("a.png", "b.png")
    with pytest.raises(UsageError, match=r"'all\.png' is one file for 2 inputs"):
        plan(items, "all.png")
    assert destinations(items, "all.png/")[0] == "all.png/a_upscale.png"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{stm}{ext}", r"'\{stm\}'\. Did you mean '\{stem\}'\?.*\{rel\}, \{stem\}, \{ext\}, \{op\}, \{model\}"),
        ("{stem.__class__}{ext}", "Unknown field"),
        ("{}{ext}", "Unknown field"),
        ("{stem:>9}{ext}", r"write \{stem\} alone"),
        ("{stem{ext}", "is not a template"),
        ("{stem}", "cannot be written: end it in {ext}"),
        ("{stem}.gif", "cannot be written"),
        ("{stem}/", "gives no file name"),
        ("", "gives no file name"),
    ],
)
def test_templates_that_make_no_name_are_refused(name: str, message: str) -> None:
    """Each says what is wrong; an unknown field lists the known ones."""
    write_images("a.png")
    with pytest.raises(UsageError, match=message):
        plan(expand("a.png"), "out/", name=name)


@pytest.mark.parametrize(
    "name", ["../{stem}{ext}", "x/../../{stem}{ext}", "/elsewhere/{stem}{ext}", "{op}/{stem}{ext}"]
)
def test_nothing_is_written_outside_the_output_folder(name: str, tmp_path: Path) -> None:
    """Neither by dots, nor by an absolute name, nor by what fills the template in."""
    write_images("a.png")
    with pytest.raises(UsageError, match="leads out of the folder 'out'"):
        plan(expand("a.png"), "out/", name=name, op="..")


def test_a_link_does_not_lead_outside_either() -> None:
    """A link among the output's folders is followed before it is trusted; -o itself may be one."""
    write_images("photos/x/a.png")
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/x").symlink_to(Path("elsewhere").absolute())
    with pytest.raises(UsageError, match="leads through a link out of the folder 'out'"):
        plan(expand("photos", recursive=True), "out")
    Path("link").symlink_to("elsewhere")
    assert destinations(expand("photos/x/a.png"), "link") == ["link/a_upscale.png"]


def test_two_inputs_for_one_output_are_refused_by_name() -> None:
    """The second would replace the first; both are named."""
    write_images("x/a.png", "y/a.png")
    with pytest.raises(UsageError, match=r"'x/a\.png' and 'y/a\.png' would both be written to 'out/a_upscale\.png'"):
        plan(expand("x/a.png", "y/a.png"), "out")
    write_images("b.gif", "b.png")
    with pytest.raises(UsageError, match=r"'b\.gif' and 'b\.png'"):
        plan(expand("b.gif", "b.png"))


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"skip_existing": True}])
def test_an_input_is_never_written_over(options: dict[str, Any]) -> None:
    """Not by its own result, under no option, and not through another spelling of its path."""
    write_images("photos/a.png", "photos/b.png")
    Path("link").symlink_to("photos")
    for output in ("photos/a.png", "photos/../photos/a.png", "link/a.png"):
        with pytest.raises(UsageError, match="is an input and would be written over"):
            plan(expand("photos/a.png"), output, **options)
    with pytest.raises(UsageError, match="is an input"):
        plan(expand("photos"), name="{stem}{ext}", **options)


def test_the_file_behind_a_link_is_an_input_too() -> None:
    """Reading `link.png` reads `real.png`, so that a result must not replace it."""
    write_images("real.png")
    Path("link.png").symlink_to("real.png")
    with pytest.raises(UsageError, match=r"'real\.png' is an input"):
        plan(expand("link.png"), "real.png", overwrite=True)


def test_existing_outputs_need_a_decision() -> None:
    """Refused with their number and the first name, replaced, or skipped."""
    write_images("a.png", "b.png", "c.png", "out/b_upscale.png", "out/c_upscale.png")
    items = expand("a.png", "b.png", "c.png")
    with pytest.raises(UsageError, match=r"2 outputs exist already \(the first is 'out/b_upscale\.png'\): add --over"):
        plan(items, "out")
    assert [job.skip for job in plan(items, "out", overwrite=True)] == [False, False, False]
    assert [job.skip for job in plan(items, "out", skip_existing=True)] == [False, True, True]
    with pytest.raises(UsageError, match="exclude each other"):
        plan(items, "out", overwrite=True, skip_existing=True)


def test_an_interrupted_batch_beside_its_inputs_goes_on() -> None:
    """On the second run the folder holds results too; they are done, not new inputs to be enlarged again."""
    write_images("photos/a.png", "photos/b.png", "photos/a_upscale.png")
    items = expand("photos")
    with pytest.raises(UsageError, match=r"'photos/a_upscale\.png' is an input"):
        plan(items, overwrite=True)
    to_do = [job.source for job in plan(items, skip_existing=True) if not job.skip]
    assert to_do == [Path("photos/b.png")]


def test_a_folder_in_the_place_of_an_output_is_refused() -> None:
    """No option lets an image replace a folder."""
    write_images("a.png")
    Path("a_upscale.png").mkdir()
    with pytest.raises(UsageError, match=r"'a_upscale\.png' is a folder"):
        plan(expand("a.png"), overwrite=True)


def test_a_dangling_link_counts_as_existing() -> None:
    """It is somebody's file name, and a write would replace it."""
    write_images("a.png")
    os.symlink("nowhere", "a_upscale.png")
    with pytest.raises(UsageError, match=r"1 output exists already \('a_upscale\.png'\)"):
        plan(expand("a.png"))
