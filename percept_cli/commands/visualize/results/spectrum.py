"""`percept visualize spectrum`: whether an enlargement left a checkerboard, and at which frequencies."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, PlotFile

MOST = 9  # pictures


def spectrum(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, each a panel; nine at most.")],
    scale: Annotated[int, typer.Option(min=2, max=8, help="What they were enlarged by.")] = 4,
    output: PlotFile = None,
    data: Numbers = None,
    show: options.Show = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """The log power of pictures over frequency, with the patterns that strides and enlarging leave marked and counted.

    percept visualize spectrum restyled.jpg

    percept visualize spectrum original.png upscaled.png --scale 4 -o spectra.svg --data peaks.csv
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_plot,
    )
    from percept_cli.console import Console
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    if len(images) > MOST:
        raise UsageError(f"{len(images)} spectra would be too small to read: give {MOST} at most.")
    flags = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture(images[0].stem, "spectrum", output, sources=images, plot=True, **flags)
    numbers = plan_numbers(data, images, **flags)
    if report_skipped(job, console):
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.images.decode import load_image
    from percept_cli.core.measures.spectrum import frequency_peaks, log_power, spectrum_side
    from percept_cli.core.visualization.spectrum import Spectrum, spectrum_plot
    from percept_cli.errors import ImageError

    check_matplotlib()
    spectra = []
    for path in images:
        photo = load_image(path)
        for note in photo.notes:
            console.warn(f"{path}: {note}")
        pixels = photo.visible()
        try:
            power = log_power(pixels, spectrum_side(pixels, scale))
        except ImageError as error:
            raise ImageError(f"'{path}': {error}") from error
        spectra.append(Spectrum(path.stem, power.numpy(), frequency_peaks(pixels, scale, power)))
    write_plot(
        spectrum_plot(spectra, scale, "Power spectrum"), job, console, show=show,
        patterns=[len(each.patterns) for each in spectra],
    )  # fmt: skip
    rows = [
        {"image": str(path), "period": peak.period, "cycles_down": peak.down, "cycles_across": peak.across,
         "db_over_surroundings": peak.height}
        for path, each in zip(images, spectra, strict=True)
        for peak in each.peaks
    ]  # fmt: skip
    write_numbers(rows, numbers)
