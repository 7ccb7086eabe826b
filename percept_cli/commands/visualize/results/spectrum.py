"""`percept visualize spectrum`: the frequencies of the checkerboard patterns that enlarging left."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, PlotFile

if TYPE_CHECKING:
    from percept_cli.core.visualization.spectrum import Spectrum

MOST = 9  # pictures


def spectrum(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, nine at most.")],
    scale: Annotated[int, typer.Option(min=2, max=8, help="Scale of their enlargement.")] = 4,
    output: PlotFile = None,
    data: Numbers = None,
    *,
    show: options.Show = False,
    existing: options.Existing,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Power spectra of pictures, with the patterns that strides and enlarging leave marked and counted.

    percept visualize spectrum restyled.jpg

    percept visualize spectrum original.png upscaled.png --scale 4 -o spectra.svg --data peaks.csv
    """
    from percept_cli.commands.planning import check_sources
    from percept_cli.commands.visualize.photographs import each_good, exit_if_failed, load_pixels
    from percept_cli.commands.visualize.picture import SVG, plan_picture
    from percept_cli.errors import ImageError, UsageError

    console = report.console()
    if len(images) > MOST:
        raise UsageError(f"{len(images)} spectra would be too small to read: give {MOST} at most.")
    check_sources(images)
    named = chosen.describe("spectrum")
    target = plan_picture(
        images[0].stem, named, output, data, existing, console, sources=images, others=(SVG,), show=show
    )
    if target.is_done():
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.files.inputs import readable
    from percept_cli.core.visualization.spectrum import measure_spectrum, spectrum_plot, spectrum_records

    check_matplotlib()

    def measure(path: Path) -> "Spectrum":
        pixels = load_pixels(path, console)
        try:
            return measure_spectrum(pixels, readable(path.stem), scale)
        except ImageError as error:
            raise ImageError(f"'{path}': {error}") from error

    measured, failed = each_good(images, measure, console, "picture")
    spectra = [each for _, each in measured]
    records = spectrum_records([(str(path), each) for path, each in measured])
    target.write(
        spectrum_plot(spectra, scale, "Power spectrum"), records, patterns=[len(each.patterns) for each in spectra]
    )
    exit_if_failed(failed)
