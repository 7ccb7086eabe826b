"""Options from percept.toml: which file and table wins, what gives way to the command line, and what files may not do."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from percept_cli import configuration
from percept_cli.app import app
from percept_cli.configuration import command_path, settings_for
from percept_cli.configured_values import FILES, OF_ONE_RUN, keys_of
from percept_cli.core.extractors import ARCHITECTURES
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.errors import ExitCode
from percept_cli.naming import Chosen
from tests.conftest import Outcome, Percept

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "batches.md"
Write = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surroundings: dict[str, str]) -> Path:
    """The current folder, where files of options are read."""
    monkeypatch.delitem(surroundings, "PERCEPT_NO_CONFIG")
    monkeypatch.delenv("PERCEPT_NO_CONFIG", raising=False)
    monkeypatch.setattr(configuration, "user_file", lambda: tmp_path / "home" / "percept" / "percept.toml")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def here(folder: Path) -> Write:
    """Writes the file of the folder."""

    def write(text: str) -> Path:
        (folder / "percept.toml").write_text(text)
        return folder / "percept.toml"

    return write


@pytest.fixture
def own(folder: Path) -> Write:
    """Writes the user's own file."""

    def write(text: str) -> Path:
        path = configuration.user_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def shown(percept: Percept, folder: Path) -> Callable[..., dict[str, dict]]:
    """`shown(*arguments)`: what `--print-config --json` tells of each option."""

    def call(*arguments: object) -> dict[str, dict]:
        outcome = percept(*arguments, "--print-config", "--json")
        assert outcome.code == ExitCode.OK, outcome.stderr
        return {row["option"]: row for row in map(json.loads, outcome.stdout.splitlines())}

    return call


def values(rows: dict[str, dict], *names: str) -> list[object]:
    return [rows[name]["value"] for name in names]


def test_the_nearer_file_and_the_narrower_table_win_and_the_command_line_is_above_all(
    here: Write, own: Write, shown: Callable
) -> None:
    own('device = "cpu"\nquality = 60\nthreads = 3\n[upscale]\nquality = 70\ntile = 256\n')
    here('quality = 80\ntile = "off"\n[upscale]\ntile = 512\n')
    rows = shown("upscale", "--threads", "1")
    assert values(rows, "device", "quality", "tile", "threads", "seed" if "seed" in rows else "name") == [
        "cpu", 80, "512", 1, "{stem}_{op}{ext}",
    ]  # fmt: skip
    assert rows["device"]["source"] == f"user's {configuration.user_file()}"
    assert rows["tile"]["source"] == "folder's percept.toml, [upscale]" and rows["tile"]["file"] == "percept.toml"
    assert rows["threads"]["source"] == "command line" and rows["name"]["source"] == "default"


def test_a_shared_key_is_for_every_command_that_has_the_option(here: Write, shown: Callable) -> None:
    """`[train]` is for every training; both spellings of a training read its table."""
    here("seed = 7\nbatch = 2\n[train]\nbatch = 3\n[train.any-style]\nbatch = 5\n[train.style]\nlearning_rate = 0.1\n")
    assert values(shown("stylize"), "seed") == [7]
    assert values(shown("train", "extractor"), "batch", "seed") == [3, 7]
    for spelling in (("train", "any-style"), ("train-any-style",)):
        assert values(shown(*spelling), "batch") == [5]
    assert values(shown("train-style"), "learning-rate", "batch") == [0.1, 3]
    assert "seed" not in shown("upscale")
    assert command_path(get_command(app), ("train-any-style",)) == ("train", "any-style")


def test_keys_have_dashes_or_underscores_and_lists_may_be_lists(here: Write, shown: Callable) -> None:
    here('[stylize]\nstyle = ["a.png", "b.png"]\nblend = [1, 2]\nsteps = 9\nstyle_layers = ["relu1_1", "relu2_1"]\n')
    rows = shown("stylize")
    assert values(rows, "style", "blend", "style-layers") == [["a.png", "b.png"], "1,2", ["relu1_1", "relu2_1"]]


@pytest.mark.parametrize(
    ("text", "command", "message"),
    [
        ("x2 = [1,\n\n", "upscale", "percept.toml, line 3: this is no TOML, invalid value"),
        ('a = "1\n', "upscale", "percept.toml, line 1: this is no TOML"),
        ("[upscale]\nlook = 1\nlook = 2\n", "upscale", "percept.toml, line 3: this is no TOML"),
        ("[upscale]\nloook = 'natural'\n", "stylize", "percept.toml, [upscale]: Unknown option 'loook'. Did you mean 'look'?"),
        ("[upscal]\nx2 = true\n", "stylize", "percept.toml: Unknown command 'upscal'. Did you mean 'upscale'?"),
        ("[train.stile]\nbatch = 1\n", "doctor", "percept.toml, [train]: Unknown command 'stile'. Did you mean 'style'?"),
        ("devise = 'cpu'\n", "doctor", "percept.toml: Unknown option 'devise'. Did you mean 'device'?"),
        ("upscale = 3\n", "doctor", "percept.toml: upscale is a command: write its options below a line [upscale]."),
        ("[upscale.x2]\na = 1\n", "doctor", "percept.toml, [upscale]: x2 is an option, not a command: write x2 = VALUE."),
        ("tv-weight = 1\ntv_weight = 2\n", "doctor", "percept.toml: tv_weight is given twice, with - and with _"),
        ("[upscale]\nx2 = 'yes'\n", "upscale", 'percept.toml, [upscale]: x2: "yes" is given, true or false is wanted.'),
        ("quality = true\n", "upscale", "percept.toml: quality: true is given, a whole number is wanted."),
        ("quality = 80.5\n", "upscale", "percept.toml: quality: 80.5 is given, a whole number is wanted."),
        ("[stylize]\nstrength = '1'\n", "stylize", 'strength: "1" is given, a number is wanted.'),
        ("[stylize]\nstrength = 1.5\n", "stylize", "percept.toml, [stylize]: strength: 1.5 is refused: "),
        ("device = ['cpu']\n", "upscale", 'device: ["cpu"] is given, a text or a number is wanted.'),
        ("device = 'gpu'\n", "upscale", "percept.toml: device: "),
        ("[upscale]\nlook = 'narutal'\n", "upscale", "[upscale]: look: Unknown look 'narutal'. Did you mean 'natural'?"),
        (f"threads = {'9' * 5000}\n", "doctor", "percept.toml, line 2: this is no TOML, exceeds the limit"),
        ("[[upscale]]\nx2 = true\n", "doctor", "percept.toml: upscale is a command"),
        ('[upscale]\nlook = "\\u001b[2J"\n', "doctor", "percept.toml: a key or a value holds a control character"),
        ('"\\u009b2J" = 1\n', "doctor", "percept.toml: a key or a value holds a control character"),
        ("[upscale]\ntile = 'big'\n", "upscale a.png", "tile is set in the folder's percept.toml, [upscale]."),
        ("[upscale]\nx2 = true\nx4 = true\n", "upscale a.png", "exclude each other: give one of them. x2 is set in the"),
    ],
)  # fmt: skip
def test_a_file_with_a_mistake_is_refused_in_a_sentence_that_names_it_and_the_key(
    text: str, command: str, message: str, here: Write, percept: Percept
) -> None:
    """Misspelled names are found whatever command runs, values when their command does."""
    here(text)
    outcome = percept(*command.split())
    assert outcome.code == ExitCode.USAGE and outcome.stdout == ""
    assert message in outcome.stderr and outcome.stderr.count("error:") == 1 and "internal" not in outcome.stderr


def test_a_file_that_cannot_be_read_is_refused_but_help_is_shown(here: Write, percept: Percept) -> None:
    path = here("")
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    outcome = percept("doctor")
    assert outcome.code == ExitCode.USAGE and "percept.toml, line 2: this is no UTF-8 text" in outcome.stderr
    assert percept("doctor", "--help").code == ExitCode.OK
    path.unlink()
    path.mkdir()
    outcome = percept("doctor")
    assert outcome.code == ExitCode.USAGE and "percept.toml: this is no file of settings" in outcome.stderr


def test_a_nested_file_cannot_exhaust_the_stack(here: Write, percept: Percept) -> None:
    here(f"a = {'[' * 90_000}\n")
    outcome = percept("doctor")
    assert outcome.code == ExitCode.USAGE and "percept.toml" in outcome.stderr


@pytest.mark.parametrize(
    ("command", "line", "file", "kept", "left"),
    [
        ("upscale", "--x4", "x2 = true", "x4", "x2"),
        ("upscale", "--x4", "x4 = false", "x4", "x3"),
        ("upscale", "--scale 2.5", "x2 = true", "scale", "x2"),
        ("upscale", "--width 900", "height = 500", "width", "height"),
        ("upscale", "--blend 0.3", "look = 'natural'", "blend", "look"),
        ("upscale", "--look natural", "blend = 0.3", "look", "blend"),
        ("upscale", "-m mine.safetensors", "look = 'natural'", "model", "look"),
        ("upscale", "-m mine.safetensors", "x2 = true", "model", "x2"),
        ("upscale", "--compression 40", "model = 'swift-x4-natural'", "compression", "model"),
        ("upscale", "--skip-existing", "overwrite = true", "skip-existing", "overwrite"),
        ("upscale", "--overwrite", "skip-existing = true", "overwrite", "skip-existing"),
        ("upscale", "--verbose", "quiet = true", "verbose", "quiet"),
        ("upscale", "--quiet", "verbose = true", "quiet", "verbose"),
        ("upscale", "--show", "quiet = true", "show", "quiet"),
        ("upscale", "--quiet", "show = true", "quiet", "show"),
        ("upscale", "--device cpu", "precision = 'fp16'", "device", "precision"),
        ("upscale", "--precision fp16", "device = 'cpu'", "precision", "device"),
        ("stylize", "--style a.png", "model = 'wave'", "style", "model"),
        ("stylize", "-m wave", "style = 'a.png'", "model", "style"),
        ("stylize", "--mask a.png", "size = 64", "mask", "size"),
        ("stylize", "--style a.png --steps 60", "stroke = 'auto'", "steps", "stroke"),
        ("stylize", "--style a.png --init noise", "steps = 0", "init", "steps"),
        ("invert", "-m compact-conv5_2", "method = 'optimize'", "model", "method"),
        ("invert", "--layers conv1,conv2", "model = 'compact-conv5_2'", "layers", "model"),
        ("train style", "--style a.png --fast", "steps = 900", "fast", "steps"),
        ("train style", "--style a.png --resume", "overwrite = true", "resume", "overwrite"),
        ("train translate", "--source a --target b", "degrade = 'noise'", "target", "degrade"),
        ("train translate", "--degrade noise", "target = 'b'", "degrade", "target"),
        ("visualize features", "--channel 3", "components = true", "channel", "components"),
        ("visualize sweep", "-m wave", "style = 'a.png'", "model", "style"),
    ],
)
def test_a_value_of_a_file_gives_way_to_what_it_conflicts_with_on_the_command_line(
    command: str, line: str, file: str, kept: str, left: str, own: Write, shown: Callable
) -> None:
    own(f"[{command.replace(' ', '.')}]\n{file}\n")
    plain = shown(*command.split(), *line.split())
    assert plain[kept]["source"] == "command line"
    if left in file:
        assert "gives way to --" in plain[left]["source"] or "has no effect" in plain[left]["source"]
    own("")
    without = shown(*command.split(), *line.split())
    assert {name: row["value"] for name, row in plain.items()} == {name: row["value"] for name, row in without.items()}


def test_a_model_of_any_style_in_a_file_stays_beside_the_styles_of_the_command_line(
    own: Write, shown: Callable
) -> None:
    own("[stylize]\nmodel = 'any-style'\n")
    assert values(shown("stylize", "--style", "a.png"), "model") == ["any-style"]


def test_a_nearer_file_takes_back_what_a_farther_one_excludes(own: Write, here: Write, shown: Callable) -> None:
    own("[upscale]\nx2 = true\nlook = 'natural'\n")
    here("[upscale]\nx8 = true\nblend = 0.5\n")
    rows = shown("upscale")
    assert values(rows, "x2", "x8", "look", "blend") == [False, True, None, 0.5]
    assert "gives way to x8 of the folder's percept.toml, [upscale]" in rows["x2"]["source"]


def test_a_value_without_effect_in_a_call_is_left_out_and_refused_only_on_the_command_line(
    here: Write, percept: Percept, shown: Callable
) -> None:
    here("extractor = 'vgg19'\n[stylize]\noptimizer = 'lbfgs'\nbandwidth = 0.2\n[train.translate]\ndata = 'photos'\n")
    for line in (("-m", "wave"), ("--style", "a.png")):
        rows = shown("stylize", *line)
        assert values(rows, "optimizer", "bandwidth", "extractor") == ["adam", 0.1, "compact"], line
        assert rows["optimizer"]["source"].endswith("has no effect in this call")
    assert percept("stylize", "a.png", "-m", "wave", "--optimizer", "lbfgs").code == ExitCode.USAGE
    rows = shown("stylize", "--style", "a.png", "--steps", "5")
    assert values(rows, "optimizer", "bandwidth", "extractor") == ["lbfgs", 0.1, "vgg19"]
    assert values(shown("stylize", "--style", "a.png", "--loss", "contextual"), "bandwidth") == [0.2]
    for line in (
        ("--target", "b"),
        ("--target", "b", "--short-side", "64"),
        ("--target", "b", "--feature-weight", "1"),
    ):
        assert values(shown("train", "translate", *line), "data") == [[]], line


@pytest.mark.parametrize("text", ["overwrite = true\n", "[upscale]\noverwrite = true\n"])
def test_only_the_users_own_file_replaces_outputs(
    text: str, here: Write, own: Write, percept: Percept, shown: Callable
) -> None:
    here(text)
    outcome = percept("upscale", "a.png")
    assert outcome.code == ExitCode.USAGE and "overwrite would replace the files of whoever works" in outcome.stderr
    here("")
    own(text)
    assert values(shown("upscale"), "overwrite") == [True]


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("upscale", "output = 'x/'"), ("upscale", "from-file = 'x'"), ("upscale", "null = true"),
        ("upscale", "print-config = true"), ("stylize", "preview = 'x.png'"), ("train.style", "preview = true"),
        ("train.style", "resume = true"), ("train.style", "output = 'x.safetensors'"), ("compare", "probe = 'x'"),
        ("visualize.features", "data = 'x.csv'"), ("visualize.report", "log = 'x'"), ("visualize.sweep", "rows = 'model=x'"),
    ],
)  # fmt: skip
def test_what_names_a_single_run_or_a_file_to_write_is_in_no_file(
    command: str, key: str, own: Write, percept: Percept
) -> None:
    own(f"[{command}]\n{key}\n")
    outcome = percept("doctor")
    assert outcome.code == ExitCode.USAGE and "is of a single run: give it on the command line." in outcome.stderr


def test_a_shared_folder_of_photographs_is_no_file_of_numbers(here: Write, shown: Callable) -> None:
    """`--data` reads pictures in trainings and writes numbers in `visualize`."""
    here("data = 'photos'\n")
    assert values(shown("train", "style"), "data") == [["photos"]]
    assert values(shown("visualize", "features"), "data") == [None]


@pytest.mark.parametrize(
    ("command", "key", "value"),
    [
        ("stylize", "model", "'/elsewhere/x.safetensors'"), ("stylize", "model", "'../x.safetensors'"),
        ("stylize", "style", "['a.png', '~/x.png']"), ("stylize", "mask", "'link/x.png'"),
        ("stylize", "mask", "'loop/../../x.png'"),
        ("stylize", "extractor-weights", "'../x.safetensors'"), ("train.style", "data", "'/'"),
        ("train.extractor", "teacher", "'vgg19=../x.pth'"), ("train.extractor", "start", "'..'"),
    ],
)  # fmt: skip
def test_the_file_of_a_folder_reads_nothing_outside_of_it(
    command: str, key: str, value: str, folder: Path, here: Write, percept: Percept
) -> None:
    """The folder may be somebody else's, with links that lead out of it."""
    (folder / "link").symlink_to(folder.parent, target_is_directory=True)
    (folder / "loop").symlink_to(folder / "loop")
    here(f"[{command}]\n{key} = {value}\n")
    outcome = percept(*command.split("."), "--print-config")
    assert outcome.code == ExitCode.USAGE and outcome.stdout == ""
    assert f"percept.toml, [{command}]: {key}: '" in outcome.stderr and "leads out of the folder" in outcome.stderr


def test_relative_paths_are_of_the_folder_of_their_file_and_names_stay_names(
    own: Write, here: Write, shown: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = own(
        "extractor = 'nets/mine.safetensors'\n[stylize]\nmodel = 'wave'\n[upscale]\nmodel = '/models/big.pth'\n"
        "[train]\nstart = 'udnie'\n[train.extractor]\nteacher = ['vgg19=nets/v.pth', 'squeezenet1_0']\n"
    ).parent
    assert values(shown("compare"), "extractor") == [str(home / "nets" / "mine.safetensors")]
    assert values(shown("stylize"), "model") == ["wave"]
    assert values(shown("upscale"), "model") == ["/models/big.pth"]
    assert values(shown("train", "style"), "start") == ["udnie"]
    assert values(shown("train", "extractor"), "teacher") == [[f"vgg19={home / 'nets' / 'v.pth'}", "squeezenet1_0"]]
    own("")
    here("[stylize]\nstyle = 'pictures/a.png'\n")
    assert values(shown("stylize"), "style") == [["pictures/a.png"]]


def test_names_of_models_and_networks_are_no_paths() -> None:
    """A value with a dot or a slash is a path (see `check_value`); no name has one."""
    assert not [name for name in (*shipped_models(), *ARCHITECTURES) if set("./\\") & set(name)]


def test_every_option_that_names_files_is_known_to_the_rules() -> None:
    """A new option of paths is refused in files until somebody decides that it may stand there."""
    for command in leaves(get_command(app)):
        for name, key in keys_of(command).items():
            text = f"{key.parameter.metavar} {getattr(key.parameter, 'help', '')}"
            if name in FILES or key.refusal(trusted=False) is not None:
                continue
            assert Path not in (key.annotation, *get_args(key.annotation)), (command.name, name)
            assert not re.search(r"\bFILE\b|\ba file\b|\bfolder of\b", text), (command.name, name)
    known = {name for command in leaves(get_command(app)) for name in keys_of(command)}
    assert known >= FILES and known & OF_ONE_RUN


def leaves(tree) -> list:  # type: ignore[no-untyped-def]
    inner = getattr(tree, "commands", None)
    return [tree] if inner is None else [leaf for each in inner.values() for leaf in leaves(each)]


def test_print_config_shows_lines_that_a_file_may_have(here: Write, percept: Percept, shown: Callable) -> None:
    """What it prints, saved as percept.toml, holds the same; options of the run are comments, and nothing else is done."""
    here("[upscale]\nlook = 'natural'\nx2 = true\n")
    outcome = percept("upscale", "missing.png", "--ensemble", "-o", "out/", "--print-config")
    assert outcome.code == ExitCode.OK and outcome.stderr == ""
    lines = {line.split(" ")[0]: line for line in outcome.stdout.splitlines()}
    assert lines["look"].split() == ["look", "=", '"natural"', "#", "folder's", "percept.toml,", "[upscale]"]
    assert '# output = "out/"' in outcome.stdout and not Path("out").exists()
    before = shown("upscale", "--ensemble")
    here(f"[upscale]\n{outcome.stdout.replace('overwrite = false', '# overwrite = false')}")
    assert {name: row["value"] for name, row in shown("upscale").items()} == {
        name: row["value"] for name, row in before.items()
    }


def test_print_config_needs_nothing_that_the_work_needs(shown: Callable, percept: Percept) -> None:
    """Every command has it, without inputs; what the command line would refuse stays refused."""
    for command in ("train style", "train any-style", "models blend", "visualize report", "compare"):
        assert "json" in shown(*command.split()), command
    outcome = percept("stylize", "a.png", "-m", "wave", "--steps", "3", "--print-config")
    assert outcome.code == ExitCode.USAGE and "leave --steps out" in outcome.stderr


def test_results_are_named_by_the_options_of_files_that_made_them(
    here: Write, own: Write, percept: Percept, photos: Path
) -> None:
    """Said once on standard error; options without effect are not in the name."""
    own(f"{'threads = 1'}\n[upscale]\nx8 = true\n")
    here("[upscale]\nx2 = true\nlook = 'faithful'\nensemble = true\n[stylize]\nstrength = 0.5\noptimizer = 'lbfgs'\n")
    outcome = percept("upscale", photos / "hill.png", "-o", "out/")
    assert outcome.code == ExitCode.OK, outcome.stderr
    assert [path.name for path in Path("out").iterdir()] == ["hill_x2_faithful_ensemble.png"]
    assert "x2, look, ensemble from the folder's percept.toml" in outcome.stderr.splitlines()
    assert outcome.stderr.count("percept.toml") == 2
    outcome = percept("stylize", photos / "hill.png", "-m", "wave", "-o", "styled/", "-q")
    assert [path.name for path in Path("styled").iterdir()] == ["hill_wave_strength-0.5.png"]
    assert outcome.stderr == ""


def test_a_file_in_a_name_of_a_result_is_named_without_its_folder() -> None:
    """A path of the user's own file is absolute, and would else tell of the user's home."""
    assert Chosen({"extractor": "/home/me/nets/mine.safetensors"}).describe("x") == "x_extractor-mine"


def test_a_batch_script_is_independent_of_files(
    here: Write, surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch, shown: Callable
) -> None:
    here("this is no TOML")
    monkeypatch.setitem(surroundings, "PERCEPT_NO_CONFIG", "1")
    assert {row["source"] for row in shown("upscale").values()} == {"default"} | {"command line"}


def test_a_user_who_works_in_the_folder_of_settings_has_one_file(
    own: Write, shown: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own("[upscale]\noverwrite = true\n").parent)
    assert values(shown("upscale"), "overwrite") == [True]


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there settings have another place")
def test_the_users_file_is_under_the_configuration_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert configuration.user_file() == tmp_path / "percept" / "percept.toml"
    monkeypatch.setenv("HOME", str(tmp_path))
    for unusable in ("", "settings"):  # else files of the current folder would be the user's own
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        assert configuration.user_file() == tmp_path / ".config" / "percept" / "percept.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert configuration.user_file() == tmp_path / ".config" / "percept" / "percept.toml"


BLOCKS = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", BLOCKS, ids=range(len(BLOCKS)))
def test_the_files_of_the_guide_are_taken(text: str, own: Write) -> None:
    own(text)
    tree = get_command(app)
    assert settings_for(tree, ("upscale",)) and settings_for(tree, ("train", "style"))


def test_settings_are_read_without_torch(here: Write) -> None:
    here("[upscale]\nx2 = true\nmodel = 'swift-x2-natural'\n")
    code = (
        "import sys; from percept_cli.app import run; code = run(['upscale', '--print-config']); "
        "assert code == 0 and 'torch' not in sys.modules"
    )
    root = Path(configuration.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL)


def test_a_command_reads_its_settings_as_a_function_would(here: Write) -> None:
    """`settings_for`: the values as a command line would give them, with their places."""
    here("[stylize]\nstroke = 2\nkeep-colors = true\nstyle-scales = [1, 2]\n")
    found = settings_for(get_command(app), ("stylize",))
    assert {name: setting.value for name, setting in found.items()} == {
        "stroke": "2", "keep_colors": True, "style_scales": "1,2",
    }  # fmt: skip
    assert found["stroke"].source == "folder's percept.toml, [stylize]"


def test_what_gives_way_is_no_value_of_a_file_any_more(here: Write) -> None:
    """Whoever asks the context of a call finds the default, as in a record of the options that made a result."""
    here("[upscale]\nx2 = true\nlook = 'natural'\n")
    tree = get_command(app)
    line = ["a.png", "--x4"]
    context = tree.commands["upscale"].make_context(
        "upscale", line, parent=tree.make_context("percept", ["upscale", *line])
    )
    sources = {name: context.get_parameter_source(name).name for name in ("x2", "x4", "look")}
    assert sources == {"x2": "DEFAULT", "x4": "COMMANDLINE", "look": "DEFAULT_MAP"}
    assert context.params["x2"] is False and context.lookup_default("x2") is None
    assert context.lookup_default("look") == "natural"


def test_outcomes_of_commands_without_files_say_nothing_of_them(percept: Percept, folder: Path) -> None:
    outcome: Outcome = percept("models", "list", "--role", "style")
    assert outcome.code == ExitCode.OK and outcome.stderr == ""
