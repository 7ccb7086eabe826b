"""The pictures of `percept visualize` from Python: from pixels and an extractor to a picture and its records."""

import os
from pathlib import Path

import pytest
import torch

from percept_cli.core.drawing.canvas import WIDTH
from percept_cli.core.drawing.plots import Plot, render
from percept_cli.core.drawing.records import encode_records
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.files.inputs import readable
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.images.photo import middle_square
from percept_cli.core.optimization.maximization import MaximizationOptions
from percept_cli.core.optimization.objectives import parse_objectives
from percept_cli.core.optimization.style_transfer import StyleOptions
from percept_cli.core.pretrained.extractors import ExtractorChoice
from percept_cli.core.runtime import Runtime
from percept_cli.core.visualization.activations import activation_plot, activation_records, measure_activations
from percept_cli.core.visualization.axes import parse_axis, settings
from percept_cli.core.visualization.comparison import find_places, titled_sheet
from percept_cli.core.visualization.differences import align_pictures, difference_records, distance_heat
from percept_cli.core.visualization.features import choose_taps, feature_sheet
from percept_cli.core.visualization.filters import filter_sheet, image_filters
from percept_cli.core.visualization.gram import THUMBNAIL, gram_distances, gram_plot, gram_records, style_grams
from percept_cli.core.visualization.objective import maximize_all, objective_picture
from percept_cli.core.visualization.receptive_field import (
    measure_receptive_fields,
    receptive_field_plot,
    receptive_field_records,
)
from percept_cli.core.visualization.reconstructions import reconstruct_layers, reconstruction_sheet
from percept_cli.core.visualization.samples import sample_sheet
from percept_cli.core.visualization.spectrum import measure_spectrum, spectrum_plot, spectrum_records
from percept_cli.core.visualization.sweep import sweep_optimized, sweep_records, sweep_sheet

FP32 = Runtime(torch.device("cpu"), torch.float32, "")
COMPACT = ExtractorChoice("compact")


def picture(side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def compact(*layers: str) -> FeatureExtractor:
    return FP32.freeze(COMPACT.create(layers))


def is_sheet(sheet: torch.Tensor) -> bool:
    return sheet.shape[:2] == (1, 3) and sheet.shape[3] >= WIDTH and sheet.min() >= 0 and sheet.max() <= 1


def test_a_sheet_of_features() -> None:
    """A record for each of the 64 channels, of which two are drawn."""
    rows = choose_taps(COMPACT.architecture, ["relu1_1"])
    sheet, records = feature_sheet(compact("relu1_1"), picture(), rows, FP32, title="compact", count=2)
    assert is_sheet(sheet) and len(records) == 64 and sum(bool(row["shown"]) for row in records) == 2


def test_a_sheet_of_filters() -> None:
    sheet, records = filter_sheet(image_filters(compact("conv1_1"), "conv1_1"), "compact")
    assert is_sheet(sheet) and len(records) == 64 * 27


def test_a_plot_of_activations() -> None:
    """Plots are drawn when they are rendered, here as pixels."""
    measured = dict(measure_activations(compact("conv1_1", "relu1_1"), [("noise", picture())]))
    plot = activation_plot(measured, [("conv1_1", "relu1_1")], "compact")
    assert len(activation_records(measured)) == 2 and is_sheet(render(plot))


def test_plots_of_styles_of_receptive_fields_and_of_spectra() -> None:
    """Each with its records."""
    extractor, pictures = compact("relu1_1"), [picture(seed=0), picture(seed=1)]
    grams = style_grams(extractor, pictures)
    thumbnails = [middle_square(each, THUMBNAIL) for each in pictures]
    styles = gram_plot(["a", "b"], thumbnails, grams, gram_distances(grams), "compact", 32)
    assert isinstance(styles, Plot) and list(gram_records(["a", "b"], grams))
    *_, last = measure_receptive_fields(extractor, ["relu1_1"], starts=1)
    assert last.result is not None
    assert isinstance(receptive_field_plot(last.result, "compact"), Plot)
    assert [row["square"] for row in receptive_field_records(last.result)] == [1, 2, 3]
    spectrum = measure_spectrum(picture(64), "noise", 4)
    assert (
        isinstance(spectrum_plot([spectrum], 4, "noise"), Plot) and len(spectrum_records([("noise", spectrum)])) == 15
    )


def test_images_that_excite_channels() -> None:
    """The first step comes before the work and tells how much it is; the last one has the result."""
    objectives = parse_objectives("relu1_1:0-1")
    options = MaximizationOptions(steps=2)
    first, *between, last = maximize_all(objectives, 24, COMPACT.create(["conv1_1"]), FP32, options)
    assert first.total == len(between) == 4 and first.result is None and last.result is not None
    found, records = last.result
    assert [each.objective for each in found] == ["relu1_1:0", "relu1_1:1"] and len(records) == 4
    assert is_sheet(objective_picture(found, "compact", 24, options))
    assert torch.equal(objective_picture(found[:1], "compact", 24, options), found[0].image)


def test_reconstructions_of_content_and_style() -> None:
    original, layers = picture(), ["relu1_1"]
    *_, last = reconstruct_layers(original, layers, layers, compact(*layers), FP32, steps=2)
    assert last.result is not None
    found, records = last.result
    assert [each.row for each in found] == ["content", "style"] and len(records) == 4
    assert is_sheet(reconstruction_sheet(original, found, "compact", 2))


def test_a_sweep_over_an_option_of_an_optimization(style_picture: Path) -> None:
    """Half the strength is half way from the photograph; the optimization behind both runs once."""
    rows, columns = parse_axis("--rows", None), parse_axis("--columns", "strength=0.5,1")
    asked, pixels, base = settings(rows, columns), picture(48), StyleOptions(steps=2)
    first, *_, last = sweep_optimized(pixels, asked, [style_picture], base, COMPACT, FP32)
    assert first.total == 2 and last.result is not None
    ((half, whole),) = last.result
    torch.testing.assert_close(half.image, (pixels + whole.image) / 2)
    assert [row["strength"] for row in sweep_records(asked, last.result, pixels)] == [0.5, 1.0]
    assert is_sheet(sweep_sheet("sweep", [], [], rows, columns, last.result))


def test_a_comparison_with_its_places_and_distances() -> None:
    """Of pictures of two sizes, which is noted."""
    shown, notes = align_pictures([picture(48), picture(24)], ["a", "b"], ["a.png", "b.png"])
    assert notes == ["b was 24x24 pixels and is resized (bicubic)"]
    places, _ = find_places(shown, crops=1)
    heat, _ = distance_heat(shown, compact("relu1_1"), FP32)
    assert heat.maps["b"].shape == (1, 1, 48, 48) and len(difference_records(shown, places)) == 2
    assert is_sheet(titled_sheet(shown, places, heat, "a and b", notes))


def test_a_sheet_of_samples() -> None:
    torch.manual_seed(0)
    network = Autoencoder(4, variational=True, width=0.1).eval()
    first, *pictures, last = sample_sheet(network, 2, 16, 0, FP32)
    assert first.total == len(pictures) == 2 and last.result is not None
    sheet, records = last.result
    assert sheet.shape[:2] == (1, 3) and {row["picture"] for row in records} == {0, 1}


def test_layers_are_those_given_or_the_style_layers_from_shallow_to_deep() -> None:
    """Both names of one activation are one row."""
    architecture = COMPACT.architecture
    assert [row.layer for row in choose_taps(architecture)] == list(architecture.style_layers)
    (row,) = choose_taps(architecture, ["relu2_1", "conv2_1"], before_after=True)
    assert row.sides == ("conv2_1", "relu2_1")
    with pytest.raises(Exception, match="stands on neither side of a ReLU"):
        choose_taps(architecture, ["pool1"], before_after=True)


def test_names_that_are_no_utf_8_stand_in_numbers_and_pictures() -> None:
    """In CSV as the bytes that they are, on sheets and pages as escapes."""
    name = os.fsdecode(b"odd\xff.png")
    assert b"odd\xff.png" in encode_records([{"file": name}], ".csv")
    assert readable(name) == "odd\\xff.png"
