"""The metrics of `percept compare` by name; imports no torch."""

from percept_cli.core.choices import BACKBONES
from percept_cli.core.losses.style_losses import STYLE_LOSSES

CROPPED = ("psnr", "ssim", "ms_ssim")
"""Those that leave a border out."""

EXTRACTED = ("perceptual", *STYLE_LOSSES)
"""Those that compare the features of an extractor that can be chosen."""

METRICS = (*CROPPED, *EXTRACTED, *BACKBONES)
