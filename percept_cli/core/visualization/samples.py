"""A sheet of pictures that a variational autoencoder decodes from random codes."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from percept_cli.core.drawing.sheets import Panel, contact_sheet, square_sheet
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.inference.invert import draw_images
from percept_cli.core.runtime import Runtime
from percept_cli.core.visualization.steps import Step


def sample_sheet(
    network: Autoencoder, count: int, side: int, seed: int, runtime: Runtime
) -> Iterator[Step[tuple[Tensor, list[dict[str, object]]]]]:
    """A sheet (1, 3, H, W) of pictures decoded from normally distributed codes, and a record of every value of the codes.

    network: placed by `Runtime.place_network`. side: of each picture, in pixels. A step is a picture.
    """
    yield Step(count)
    panels, records = [], []
    for number, (image, code) in enumerate(draw_images(network, count, side, seed, runtime)):
        panels.append(Panel(image))
        records += [
            {"picture": number, "channel": channel, "row": row, "column": column, "code": float(value)}
            for (channel, row, column), value in np.ndenumerate(code[0].float().cpu().numpy())
        ]
        yield Step(count)
    yield Step(count, result=(contact_sheet(square_sheet(panels)), records))
