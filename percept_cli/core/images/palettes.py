"""Frames in the 255 colors of a GIF and one that is transparent, so that what does not move does not flicker.

Dithering spreads each pixel's error over the next ones, so that a change anywhere changes the pattern of all that follow,
and a palette of its own gives every frame other colors. Both flicker where the animation stands still. So a palette is
kept while it fits, and a pixel that has hardly changed keeps its color.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLORS = 255
TRANSPARENT = 255  # the index of no color
OPAQUE_FROM = 128  # the alpha of a pixel that is shown
# Gray levels that a channel of a pixel may change by and keep its color; the noise of a network is smaller
TOLERANCE = 3
# Pixels that a palette is made of, and that tell whether it fits: 0.3 and 0.03 seconds
_SAMPLE, _FEWER = 1 << 15, 1 << 13

Levels = NDArray[np.uint8]


class Palettes:
    """Gives frame after frame of one animation the indices of a palette's colors."""

    def __init__(self) -> None:
        self.palette: Levels = np.empty((0, 3), np.uint8)
        self._exact = True  # whether the palette has all colors
        self._seen: Levels | None = None  # the colors (H, W, 3) that the indices stand for
        self._indices: Levels | None = None

    def indices_of(self, levels: Levels) -> Levels:
        """The indices (H, W) of a frame (H, W, 3 or 4) in `palette`, which may be another one after the call."""
        colors, opaque = levels[..., :3], np.ones(levels.shape[:2], bool)
        if levels.shape[2] == 4:
            opaque = levels[..., 3] >= OPAQUE_FROM
        if not opaque.any():
            self._seen = self._indices = None
            return np.full(opaque.shape, TRANSPARENT, np.uint8)
        if not self._fits(colors[opaque]):
            self.palette, self._seen, self._indices = self._widened(colors[opaque]), None, None
            self._exact = _exact(colors[opaque], self.palette) is not None
        # What is hidden gets a color of the palette, which has no error to spread.
        colors = np.where(opaque[..., None], colors, self.palette[0])
        indices = map_colors(colors, self.palette)
        if self._seen is not None and self._indices is not None:
            change = np.abs(colors.astype(np.int16) - self._seen).max(axis=-1)
            same = (change <= (0 if self._exact else TOLERANCE)) & (self._indices != TRANSPARENT)
            indices = np.where(same, self._indices, indices)
            colors = np.where(same[..., None], self._seen, colors)  # so that slow changes are changes in the end
        indices = np.where(opaque, indices, TRANSPARENT).astype(np.uint8)
        self._seen, self._indices = colors, indices
        return indices

    def _widened(self, colors: Levels) -> Levels:
        """A palette for the pixels (N, 3), with the colors of the one before where all of them are few."""
        palette = create_palette(colors)
        both = np.unique(np.concatenate((self.palette, palette)), axis=0)
        return both if len(both) <= COLORS else palette

    def _fits(self, colors: Levels) -> bool:
        """Whether the palette is good enough for the pixels (N, 3): exact, where one can be.

        Else it is to be as good as one by median cut alone. One that was made for them has about three quarters of its error.
        """
        if not len(self.palette):
            return False
        if _exact(colors, self.palette) is not None:
            return True
        if _few_colors(colors) is not None:
            return False
        some = _spread(colors, _FEWER)
        return _error(some, self.palette) <= _error(some, _cluster(some, refined=False))


def create_palette(pixels: Levels) -> Levels:
    """At most 255 different colors (K, 3), sorted, for pixels (N, 3): theirs, or means of clusters where they are more."""
    few = _few_colors(pixels)
    if few is not None:
        return few
    return _cluster(_spread(pixels, _SAMPLE), refined=True)


def _cluster(pixels: Levels, *, refined: bool) -> Levels:
    """The means of 255 clusters of pixels (N, 3): by median cut (Heckbert 1982), which k-means refines."""
    image = Image.fromarray(np.ascontiguousarray(pixels)[None])
    clusters = image.quantize(COLORS, Image.Quantize.MEDIANCUT, kmeans=int(refined))
    return np.unique(np.array(clusters.getpalette(), np.uint8)[: 3 * COLORS].reshape(-1, 3), axis=0)


def map_colors(colors: Levels, palette: Levels) -> Levels:
    """The indices (H, W) of colors (H, W, 3) in a sorted palette: exact where it has them all, else dithered."""
    exact = _exact(colors, palette)
    if exact is not None:
        return exact
    # Error diffusion of Floyd and Steinberg 1976
    dithered = Image.fromarray(np.ascontiguousarray(colors)).quantize(
        palette=image_of(np.zeros((1, 1), np.uint8), palette), dither=Image.Dither.FLOYDSTEINBERG
    )
    return np.minimum(np.asarray(dithered), len(palette) - 1)


def table_of(palette: Levels) -> bytes:
    """A table of 256 colors: the palette's, the last one repeated; of an empty palette, black."""
    colors = palette if len(palette) else np.zeros((1, 3), np.uint8)
    return np.concatenate((colors, np.repeat(colors[-1:], 256 - len(colors), axis=0))).tobytes()


def image_of(indices: Levels, palette: Levels) -> Image.Image:
    """The indices (H, W) as a picture with the table of a palette."""
    image = Image.fromarray(np.ascontiguousarray(indices), "P")
    image.putpalette(table_of(palette))
    return image


def _exact(colors: Levels, palette: Levels) -> Levels | None:
    """The indices of colors (..., 3) that are all in a sorted palette; None where one is not."""
    known, wanted = pack_colors(palette), pack_colors(colors)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return places.astype(np.uint8) if bool((known[places] == wanted).all()) else None


def _few_colors(pixels: Levels) -> Levels | None:
    """The different colors of pixels (N, 3), sorted; None where they are more than a palette holds."""
    if len(np.unique(pack_colors(_spread(pixels, _FEWER)))) > COLORS:
        return None
    packed = np.unique(pack_colors(pixels))
    if len(packed) > COLORS:
        return None
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)


def _error(pixels: Levels, palette: Levels) -> float:
    """The root mean square distance, in gray levels, of pixels (N, 3) from the nearest colors of a palette."""
    image = Image.fromarray(np.ascontiguousarray(pixels)[None])
    nearest = image.quantize(palette=image_of(np.zeros((1, 1), np.uint8), palette), dither=Image.Dither.NONE)
    found = palette[np.minimum(np.asarray(nearest)[0], len(palette) - 1)]
    return float(np.sqrt(np.mean((found.astype(np.float64) - pixels) ** 2)))


def _spread(pixels: Levels, count: int) -> Levels:
    """At most about twice as many of many pixels (N, 3) as `count`, spread over all."""
    return pixels[:: max(1, len(pixels) // count)]


def pack_colors(colors: Levels) -> NDArray[np.int32]:
    """Each color (..., 3) as one number, in the order of red, green and blue."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
