"""An option that has no effect in a call is refused with the reason, by one mechanism for all commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from percept_cli.app import app
from percept_cli.conditions import conditions_of
from percept_cli.core.generators import create_generator
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.training.extractors import METHODS
from percept_cli.errors import ExitCode, UsageError
from percept_cli.grammar import Command
from tests.conftest import Percept, pictures_in

BATCH = "jobs memory dry_run manifest shard max_errors "
# Options without a condition: they choose the inputs, the outputs, the machine or the messages, or the work itself. --seed,
# --threads and the like may stand in every call, as scripts give them to all; what a command cannot know before it reads its
# inputs is refused later (see the tests below).
ALWAYS = {
    "stylize": BATCH
    + "photos style output name strip strength keep_colors stroke mask size tile frames from_file overwrite skip_existing "
    "quality seed device precision threads quiet verbose json",
    "upscale": BATCH
    + "photos x2 x3 x4 x8 scale width height look blend ensemble model output name strip tile histogram frames from_file overwrite "
    "skip_existing quality device precision threads quiet verbose json",
    "invert": BATCH + "photos method model output name strip size frames from_file overwrite "
    "skip_existing quality seed device precision threads quiet verbose json",
    "compare": "first second probe seed device precision threads quiet verbose json",
    "rerun": "result input file output quiet verbose json",
    "doctor": "json",
    "retry": "manifest",
    "models list": "role json",
    "models inspect": "model json",
    "models blend": "first second output share overwrite json",
    "models verify": "json",
    "train style": "style output data style_size stroke style_scales loss content_weight style_weight tv_weight scaling "
    "content_layers style_layers extractor extractor_weights seed device precision threads preview overwrite quiet verbose json",
    "train any-style": "paintings output data steps batch size smallest_crop smallest_painting learning_rate optimizer start "
    "content_weight style_weight tv_weight content_layers style_layers style_scales extractor extractor_weights seed device "
    "precision threads ema resume overwrite quiet verbose json",
    "train upscale": "output data crops_per_photo scale preset steps batch patch learning_rate optimizer start degradation "
    "pixel_weight feature_weight texture_weight contextual_weight low_frequency_weight consistency_weight fourier_weight "
    "adversarial_weight tv_weight seed device precision threads ema resume overwrite quiet verbose json",
    "train translate": "output source target pairs match degrade steps batch size learning_rate optimizer "
    "generator width start pixel_weight feature_weight contextual_weight gram_weight low_frequency_weight content_weight "
    "adversarial_weight matching_weight tv_weight seed device precision threads ema resume overwrite quiet verbose json",
    "train invert": "layer output data extractor extractor_weights loss image_weight feature_weight adversarial_weight "
    "scaling generator width steps batch size learning_rate optimizer start seed device precision threads ema resume overwrite "
    "quiet verbose json",
    "train autoencoder": "output data variational channels loss image_weight feature_weight adversarial_weight scaling width "
    "steps batch size learning_rate optimizer seed device precision threads ema resume overwrite quiet verbose json",
    "train extractor": "output method data steps batch size learning_rate seed device precision threads ema resume overwrite "
    "quiet verbose json",
    "visualize activations": "photos layer output size data extractor extractor_weights from_file overwrite skip_existing "
    "seed device precision threads quiet verbose json",
    "visualize compare": "pictures output labels crops heat data quality overwrite skip_existing seed device precision "
    "threads quiet verbose json",
    "visualize features": "image layer output channel components before_after overlay size data quality extractor "
    "extractor_weights overwrite skip_existing seed device precision threads quiet verbose json",
    "visualize filters": "output data extractor extractor_weights quality overwrite skip_existing seed quiet verbose json",
    "visualize gram": "styles layer output size data quality extractor extractor_weights from_file overwrite skip_existing "
    "seed device precision threads quiet verbose json",
    "visualize history": "logs output parts smooth previews data quality overwrite skip_existing quiet verbose json",
    "visualize objective": "what output size diversity parametrization steps jitter scale rotation data quality extractor "
    "extractor_weights overwrite skip_existing seed device precision threads quiet verbose json",
    "visualize receptive-field": "layer output data starts extractor extractor_weights overwrite skip_existing seed device "
    "precision threads quiet verbose json",
    "visualize reconstructions": "image output layers style_layers size steps data quality extractor extractor_weights "
    "overwrite skip_existing seed device precision threads quiet verbose json",
    "visualize report": "photos model output log metrics data from_file overwrite skip_existing seed device precision threads "
    "quiet verbose json",
    "visualize samples": "model output count size data overwrite skip_existing seed device precision threads quiet verbose json",
    "visualize spectrum": "images scale output data overwrite skip_existing quiet verbose json",
    "visualize sweep": "image rows columns style model output size data quality overwrite skip_existing seed device precision "
    "threads quiet verbose json",
}
# A value for each option with a condition; none is a flag.
VALUES = {
    "--steps": "20", "--optimizer": "adam", "--init": "noise", "--style-size": "64", "--blend": "1,2", "--preview": "p.png",
    "--loss": "gram", "--bandwidth": "0.1", "--points": "50", "--content-weight": "1", "--style-weight": "1",
    "--tv-weight": "1", "--scaling": "typical", "--content-layers": "relu2_2", "--style-layers": "relu2_2",
    "--extractor": "compact", "--extractor-weights": "random", "--layers": "relu2_2", "--samples": "2",
    "--preset": "mahendran-vedaldi", "--tv-exponent": "2", "--alpha-weight": "0.1", "--jitter": "2", "--model": "a.safetensors",
    "--size": "64", "--folds": "2", "--metrics": "psnr", "--border": "0", "--output": "out.png", "--batch": "1",
    "--smallest-crop": "0.5", "--learning-rate": "0.1", "--generator": "johnson", "--width": "0.5", "--norm": "inner",
    "--start": "wave", "--pixel": "l1", "--feature-layers": "relu2_2", "--feature-distance": "mse",
    "--texture-layers": "relu2_2", "--contextual-layers": "relu2_2", "--gram-layers": "relu2_2",
    "--adversarial": "standard", "--discriminator": "unet", "--discriminator-channels": "4", "--offset": "0", "--short-side": "64",
    "--comparator": "compact", "--comparator-layers": "relu2_2", "--comparator-weights": "random", "--kl-weight": "0.1",
    "--teacher": "vgg19", "--held-out": ".", "--classes": "4", "--margin": "0.1", "--gap": "2", "--count": "2",
    "--crop-size": "8", "--ema": "0.9", "--compression": "75", "--style-scales": "1,2", "--plain-strokes": "0.1", "--stroke": "2",
    "--manifest": "none", "--engine": "ray", "--address": "auto",
    "--amount": "3", "--data": ".",
}  # fmt: skip
STYLED = "content_weight style_weight tv_weight scaling content_layers style_layers style_scales"
SOURCE = "extractor extractor_weights"
SEARCH = "preset steps optimizer tv_weight tv_exponent alpha_weight jitter samples"
TRAINED = (
    "fast steps batch size smallest_crop learning_rate optimizer generator width norm start ema resume plain_strokes"
)
# command: lines in which options are refused, each of them alone
REFUSED: dict[str, list[tuple[str, str]]] = {
    "stylize": [
        ("a.png -m wave", f"steps optimizer init style_size blend preview loss bandwidth points {STYLED} {SOURCE}"),
        ("a.png --style a.png", "blend bandwidth points null_separated recursive"),
        ("a.png --style a.png --loss contextual --optimizer lbfgs", "points"),
        ("a.png --style a.png --loss contextual", "model"),
        ("a.png --style a.png --steps 9", "preview"),
        ("a.png --style a.png --steps 0", f"optimizer init preview loss {STYLED} {SOURCE}"),
        ("a.png -m wave -q", "show"),
        ("a.png -m wave --strip", "no_provenance"),
        ("a.png -m wave --manifest none", "resume"),
        ("a.png -m wave --max-errors 2", "fail_fast"),
        ("a.png -m wave --show", "engine address"),
        ("a.png --style a.png --steps 20 --preview p.png", "engine"),
        ("a.png -m wave", "watch"),
    ],
    "upscale": [
        ("a.png --tile off -q", "verify_tiles show null_separated recursive"),
        ("a.png -m a.safetensors", "compression"),
        ("a.png --strip", "no_provenance"),
        ("a.png --manifest none", "resume"),
        ("a.png --max-errors 2", "fail_fast"),
        ("a.png --memory 2G", "engine address"),
        ("a.png -o -", "engine"),
        (". --dry-run", "watch"),
    ],
    "invert": [
        ("a.png -m compact-conv5_2 -q", f"{SEARCH} show null_separated recursive"),
        ("a.png --layers conv5 --method generator", SEARCH),
        ("a.png --layers conv5 --manifest none", "resume"),
        ("a.png --layers conv5 --max-errors 2", "fail_fast"),
        ("- --layers conv5", "engine address"),
        ("a.png --layers conv5", "watch"),
        ("a.png --layers conv5", "tv_exponent"),
        ("a.png --layers conv5 --tv-weight 0", "tv_exponent"),
        ("a.png -m code.safetensors", f"layer {SOURCE} {SEARCH}"),
        ("a.png --layers conv5 --strip", "no_provenance"),
    ],
    "compare": [
        ("a.png a.png", "model size folds overwrite skip_existing"),
        ("a.png a.png --metrics lpips", f"border layers {SOURCE}"),
        ("--probe .", "metrics border output overwrite skip_existing"),
        ("--probe . -m code.safetensors", SOURCE),
    ],
    "train style": [
        ("--style a.png --preview", TRAINED),
        ("--style a.png", "blend"),
        ("--style a.png --fast", "steps generator width norm"),
        ("--style a.png", "width norm"),
        ("--style a.png --generator johnson", "plain_strokes"),
        ("--style a.png --generator transport", "width norm"),
    ],
    "train upscale": [
        (
            "--preset swift",
            "feature_layers feature_distance texture_layers contextual_layers adversarial discriminator "
            f"discriminator_channels jitter scaling {SOURCE}",
        ),
        ("--preset srgan --feature-weight 0", "feature_layers feature_distance pixel"),
    ],
    "train translate": [
        (
            "--target .",
            "amount data offset pixel feature_layers feature_distance gram_layers adversarial discriminator_channels",
        ),
        (
            "--degrade noise",
            f"short_side feature_layers contextual_layers bandwidth gram_layers content_layers {SOURCE}",
        ),
    ],
    "train invert": [
        (
            "--layers conv5 --loss image",
            "comparator comparator_layers comparator_weights discriminator_channels code_branch",
        ),
        ("--layers conv5 --comparator discriminator", "comparator_weights"),
        ("--layers conv5 --comparator random", "comparator_weights"),
    ],
    "train autoencoder": [
        (
            "--loss image",
            "comparator comparator_layers comparator_weights discriminator_channels code_branch kl_weight",
        ),
        ("--loss feature", "pixel"),
    ],
    "train extractor": [
        ("--method distil", "classes margin gap"),
        ("--method exemplar", "teacher held_out margin gap start"),
        ("--method video", "teacher classes start"),
    ],
    "visualize activations": [("a.png -q", "show null_separated recursive")],
    "visualize compare": [("a.png a.png --crops 0 -q", f"layers {SOURCE} crop_size show")],
    "visualize features": [("a.png --components -q", "count show"), ("a.png --channel 3", "count")],
    "visualize filters": [("-q", "show")],
    "visualize gram": [("a.png -q", "show null_separated recursive")],
    "visualize history": [("a.run -q", "show")],
    "visualize objective": [("relu2_2:1 -q", "show")],
    "visualize receptive-field": [("-q", "show")],
    "visualize reconstructions": [("-q", "show")],
    "visualize report": [("a.png -m wave", "extractor_weights null_separated recursive")],
    "visualize samples": [("-m code.safetensors -q", "show")],
    "visualize spectrum": [("a.png -q", "show")],
    "visualize sweep": [
        ("a.png --rows model=wave,udnie -q", f"steps {SOURCE} show"),
        ("a.png -m wave --rows strength=0.5,1", f"steps {SOURCE}"),
        ("a.png --style a.png --rows steps=1,2", "steps"),
    ],
}
# command: lines in which options have an effect, all of them together
ACCEPTED: dict[str, list[tuple[str, str]]] = {
    "stylize": [
        (
            ". --style a.png --style a.png --loss contextual --from-file list.txt",
            f"steps init style_size blend preview bandwidth points {STYLED} {SOURCE} null_separated recursive show "
            "resume fail_fast",
        ),
        ("a.png --style a.png", "model optimizer loss no_provenance"),
        ("a.png -m wave --engine ray", "address"),
        ("a.png -m wave", "engine"),
        (". --style a.png", "watch"),
        ("a.png --style a.png --style a.png --steps 0", "model style_size blend"),
    ],
    "upscale": [
        (
            ". --from-file list.txt",
            "no_provenance compression verify_tiles null_separated recursive show resume fail_fast",
        ),
        ("a.png --engine ray", "address"),
        ("a.png", "engine"),
        (".", "watch"),
    ],
    "invert": [
        (". --layers conv5 --from-file list.txt", f"{SEARCH} {SOURCE} null_separated recursive show resume fail_fast"),
        ("a.png --preset mahendran-vedaldi", "layer tv_exponent no_provenance"),
        ("a.png --layers conv5 --engine ray", "address"),
        ("a.png --layers conv5", "engine"),
        (". --layers conv5", "watch"),
    ],
    "compare": [
        ("a.png a.png", "output"),
        ("a.png a.png -o b.png", f"border layers overwrite {SOURCE}"),
        ("a.png a.png -o b.png", "metrics skip_existing"),
        ("--probe . -m code.safetensors --layers relu2_2", f"size folds {SOURCE}"),
        ("--probe .", "model layers"),
    ],
    "train style": [
        (
            "--style a.png --style a.png --generator johnson",
            f"blend {TRAINED.removeprefix('fast ').replace(' generator', '').replace(' plain_strokes', '')}",
        ),
        ("--style a.png", "generator"),
        ("--style a.png", "plain_strokes"),
        ("--style a.png", "fast"),
    ],
    "train upscale": [
        (
            "--feature-weight 1 --texture-weight 1 --contextual-weight 1 --adversarial-weight 1",
            "pixel feature_layers feature_distance texture_layers contextual_layers adversarial discriminator "
            f"discriminator_channels jitter scaling {SOURCE}",
        )
    ],
    "train translate": [
        (
            "--degrade noise --feature-weight 1 --contextual-weight 1 --gram-weight 1 --content-weight 1 "
            "--adversarial-weight 1",
            "amount data offset pixel feature_layers feature_distance contextual_layers bandwidth gram_layers content_layers "
            f"adversarial discriminator_channels {SOURCE}",
        ),
        ("--target .", "short_side"),
    ],
    "train invert": [
        ("--layers conv5", "comparator comparator_layers comparator_weights discriminator_channels code_branch"),
    ],
    "train autoencoder": [
        (
            "--variational",
            "comparator comparator_layers comparator_weights discriminator_channels code_branch kl_weight pixel",
        )
    ],
    "train extractor": [
        ("--method distil", "teacher held_out start"),
        ("--method exemplar", "classes"),
        ("--method video", "margin gap held_out"),
    ],
    "visualize activations": [(". --from-file list.txt", "null_separated recursive show")],
    "visualize compare": [("a.png a.png --heat", f"layers {SOURCE} crop_size show")],
    "visualize features": [("a.png", "count show")],
    "visualize filters": [("", "show")],
    "visualize gram": [(". --from-file list.txt", "null_separated recursive show")],
    "visualize history": [("a.run", "show")],
    "visualize objective": [("relu2_2:1", "show")],
    "visualize receptive-field": [("", "show")],
    "visualize reconstructions": [("", "show")],
    "visualize report": [(". -m compact-conv5_2 --from-file list.txt", "extractor_weights null_separated recursive")],
    "visualize samples": [("-m code.safetensors", "show")],
    "visualize spectrum": [("a.png", "show")],
    "visualize sweep": [("a.png --style a.png --rows strength=0.5,1", f"steps {SOURCE} show")],
}


def every_command() -> Iterator[tuple[str, Command]]:
    """The commands that help shows, `train style` for one."""
    waiting = [("", get_command(app))]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            waiting += [(f"{name} {part}".strip(), each) for part, each in inner.items() if not each.hidden]


COMMANDS = dict(every_command())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder with the files of the lines."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "a.png").write_bytes((photos / "hill.png").read_bytes())
    (folder / "list.txt").write_text("a.png\0")
    save_weights(folder / "code.safetensors", {"a": torch.zeros(1)}, {"role": "autoencoder", "percept.format": "1"})
    network = create_generator("style", "johnson", width=0.1)
    arguments = json.dumps(dict(network.arguments))
    metadata = {"percept.format": "1", "role": "style", "architecture": "johnson", "arguments": arguments}
    save_weights(folder / "small.safetensors", network.state_dict(), metadata)
    return folder


def words(name: str, base: str, options: str) -> list[str]:
    """A line with options, by the names of their values."""
    spellings = {parameter.name: parameter for parameter in COMMANDS[name].params}
    line = base.split()
    for option in options.split():
        parameter = spellings[option]
        spelling = next(each for each in parameter.opts if each.startswith("--"))
        line += [spelling] if parameter.is_flag else [spelling, VALUES[spelling]]
    return line


def check(name: str, line: list[str]) -> None:
    COMMANDS[name].make_context(name, line)


def test_every_option_of_every_command_is_covered() -> None:
    """An option stands with those that always have an effect, or has lines in which it has one and in which it has none."""
    for name, command in COMMANDS.items():
        assert isinstance(command, Command), name
        conditional = set(conditions_of(command))
        # --print-config, which every command has, does nothing else.
        every = {parameter.name for parameter in command.params} - {"print_config"}
        assert every - conditional == set(ALWAYS[name].split()), name
        for table in (REFUSED, ACCEPTED):
            covered = {option for _, options in table.get(name, []) for option in options.split()}
            assert covered == conditional, name


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_without_effect_is_refused_with_the_reason(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with its default value; the message names it and says what makes it useless."""
    monkeypatch.chdir(place)
    for base, options in REFUSED[name]:
        check(name, base.split())
        for option in options.split():
            line = words(name, base, option)
            with pytest.raises(UsageError) as caught:
                check(name, line)
            spelling = line[len(base.split())]
            assert spelling in str(caught.value) and str(caught.value).endswith(" out."), line
            assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_option_with_effect_is_taken(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together with others that have one."""
    monkeypatch.chdir(place)
    for base, options in ACCEPTED[name]:
        check(name, words(name, base, options))


def test_an_option_is_given_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two values for one, or yes and no, are refused; a flag twice says the same, and some options are lists."""
    monkeypatch.chdir(place)
    for name, line in (
        ("stylize", "a.png -m wave -m udnie"), ("stylize", "a.png -m wave --model wave"),
        ("upscale", "a.png --scale 2 --scale=3"), ("train autoencoder", "--code-branch --no-code-branch"),
        ("visualize history", "a.run --previews --no-previews"), ("train style", "--style a.png --device cpu --device cpu"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="is given 2 times: give it once"):
            check(name, line.split())
    check("stylize", ["a.png", "-m", "wave", "-q", "-q"])
    check("compare", ["--probe", ".", "-m", "a.safetensors", "-m", "b.safetensors"])


def test_the_methods_of_the_extractor_have_the_options_that_are_taken() -> None:
    """The conditions of `train extractor` are those of the dataclasses of its methods."""
    for method, (options, _) in METHODS.items():
        own = {
            option
            for line, options in ACCEPTED["train extractor"]
            if line.endswith(method)
            for option in options.split()
        }
        conditional = conditions_of(COMMANDS["train extractor"])
        assert own == set(options.__dataclass_fields__) & set(conditional)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stylize a.png -m wave -o out.png --quality 80", "PNG has no quality to choose: leave --quality out"),
        ("stylize a.png -m wave -o - --quality 80", "PNG has no quality to choose: leave --quality out"),
        ("visualize filters -o out.svg.png --quality 80", "PNG has no quality to choose: leave --quality out"),
        ("stylize a.png -m wave -o out.png --name {stem}.png", "-o names the file: leave --name out"),
        ("stylize a.png -m wave -o - --overwrite", "Standard output has neither a name nor an older file"),
        ("upscale a.png -o - --json", "Standard output has the picture: leave --json out"),
        ("stylize a.png -m small.safetensors --tile 64 -o out.png", "runs without tiles: leave --tile out"),
        (
            "upscale a.png --x2 --verify-tiles -o out.png",
            "no tiles to verify with this --tile: leave --verify-tiles out",
        ),
    ],
)
def test_what_is_known_later_is_refused_then(
    line: str, message: str, place: Path, monkeypatch: pytest.MonkeyPatch, percept: Percept
) -> None:
    """By the formats of the outputs, the network, or the picture; nothing is written."""
    monkeypatch.chdir(place)
    outcome = percept(*line.split())
    assert outcome.code == 2 and message in outcome.stderr, outcome.stderr
    assert outcome.stdout == "" and not (place / "out.png").exists()


def test_tiles_are_verified_where_one_of_several_pictures_has_some(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percept: Percept
) -> None:
    """Where none has, the pictures are made and the command line is wrong all the same."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((place / "a.png").read_bytes())
    outcome = percept("upscale", "a.png", "b.png", "--x2", "--verify-tiles", "-o", "out/")
    assert outcome.code == 2 and "Every picture was computed as a whole" in outcome.stderr
    assert len(pictures_in(tmp_path / "out")) == 2
