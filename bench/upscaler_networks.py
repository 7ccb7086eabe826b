"""The upscalers that `make bench-upscalers` times, and their PSNR: percept's measured here, those of others published.

Figures are decibels on luma, with a border of the scale left out, of small images by MATLAB's bicubic interpolation. None
stands where no public figure was found. Not here, as neither spandrel nor percept builds them: MAN, EDSR's baseline.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from spandrel import architectures
from torch import Tensor, nn

from percept_cli.core.generators import create_generator
from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.pretrained.foreign_upscalers import ForeignUpscaler, create_foreign_upscaler
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models

SETS = ("set5", "bsd100", "urban100")
HERE = "measured here"

REDUX = "https://github.com/the-database/traiNNer-redux/blob/master/docs/source/benchmarks.md"
ESRGAN = "https://github.com/xinntao/ESRGAN#quantitative-comparison"
BY_REDUX = f"[traiNNer-redux]({REDUX})"
IAFMNET = "table of IAFMNet, 2026"
# The figures are of its variant of 2016, whose middle convolution has 5x5 weights; percept builds that of 2014, with 1x1.
SRCNN = "Dong et al. 2016, 9-5-5"


@dataclass(frozen=True)
class Upscaler:
    """A network of one scale. build: creates it, with random weights unless it is shipped, as time does not depend on them.

    psnr: decibels by the name of the set. source: where these are from, `HERE` for those of the manifest.
    """

    name: str
    build: Callable[[], Generator]
    psnr: Mapping[str, float | None] = field(default_factory=dict)
    source: str = ""


def listed(scale: int) -> list[Upscaler]:
    """Every upscaler of a scale, first the shipped ones in the order of the manifest."""
    return [*shipped(scale), *others(scale)]


def shipped(scale: int) -> list[Upscaler]:
    """The shipped upscalers of a scale, with the figures of the manifest."""
    return [
        Upscaler(
            model.name,
            lambda path=model.path: load_generator(str(path), "upscaler").network,  # type: ignore[misc]
            {name: model.figures.get(f"{name}_psnr") for name in SETS},
            HERE,
        )
        for model in shipped_models().values()
        if model.role == "upscaler" and model.scale == scale and model.input == "clean"
    ]


def others(scale: int) -> list[Upscaler]:
    """Bicubic interpolation, the papers' networks as percept builds them, and those that spandrel builds."""
    return [
        Upscaler(name, lambda build=build: build(scale), dict(zip(SETS, psnr[scale], strict=True)), source)  # type: ignore[misc]
        for name, build, psnr, source in OTHERS
    ]


class Bicubic(Generator):
    """Bicubic interpolation, the least that a network has to be better than."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale, self.base = scale, BicubicBase(scale)
        self.receptive_radius = self.base.radius

    def forward(self, images: Tensor) -> Tensor:
        return self.base(images)


def own(name: str) -> Callable[[int], Generator]:
    """Builds one of percept's own architectures by its scale."""
    return lambda scale: create_generator("upscaler", name, scale=scale)


def foreign(build: Callable[[int], nn.Module]) -> Callable[[int], ForeignUpscaler]:
    """Builds an architecture of spandrel by its scale, loaded as percept loads a file of it."""
    return lambda scale: merge(create_foreign_upscaler(build(scale).state_dict(), "the network"))


def merge(network: ForeignUpscaler) -> ForeignUpscaler:
    """SPAN with each of its convolutions merged once, as its authors run it; spandrel merges them in every pass."""
    for module in list(network.modules()):
        for name, part in list(module.named_children()):
            if type(part).__name__ == "Conv3XC":
                part.update_params()  # type: ignore[operator]
                setattr(module, name, part.eval_conv)
    return network


def plksr(**options: object) -> Callable[[int], nn.Module]:
    """Builds a PLKSR with the channel mixer of the paper, by its scale."""
    return lambda scale: architectures.PLKSR.PLKSR(ccm_type="DCCM", upscaling_factor=scale, **options)  # type: ignore[arg-type]


# Architectures as their authors configured those with the figures. SPAN: 52 channels, the paper's 498 K parameters.
OTHERS: tuple[tuple[str, Callable[[int], Generator], dict[int, tuple[float | None, ...]], str], ...] = (
    ("bicubic", Bicubic, {4: (28.42, 25.96, 23.14), 2: (33.66, None, None)}, f"[ESRGAN]({ESRGAN})"),
    ("SRCNN", own("srcnn"), {4: (30.48, 26.90, 24.52), 2: (36.66, 31.36, 29.50)}, SRCNN),
    ("SRResNet", own("srresnet"), {4: (32.05, 27.58, None), 2: (None, None, None)}, "Ledig et al. 2017"),
    ("EnhanceNet", own("enhancenet"), {4: (None, None, None), 2: (None, None, None)}, ""),
    (
        "SPAN", foreign(lambda scale: architectures.SPAN.SPAN(
            num_in_ch=3, num_out_ch=3, feature_channels=52, upscale=scale)),
        {4: (32.20, None, 26.18), 2: (38.08, 32.22, 32.24)}, "Wan et al. 2024",
    ),
    (
        "Compact", foreign(lambda scale: architectures.Compact.Compact(upscale=scale)),
        {4: (None, None, None), 2: (None, None, None)}, "",
    ),
    (
        "SAFMN", foreign(lambda scale: architectures.SAFMN.SAFMN(dim=36, upscaling_factor=scale)),
        {4: (None, None, 25.97), 2: (None, None, 31.84)}, IAFMNET,
    ),
    (
        "SeemoRe-T", foreign(lambda scale: architectures.SeemoRe.SeemoRe(
            scale=scale, num_experts=3, num_layers=6, embedding_dim=36, lr_space="exp")),
        {4: (None, None, 26.23), 2: (None, None, 32.22)}, IAFMNET,
    ),
    (
        "PLKSR-tiny", foreign(plksr(n_blocks=12, kernel_size=13, use_ea=False)),
        {4: (32.18, 27.61, 26.12), 2: (38.11, 32.25, 32.43)}, "Lee et al. 2024, DIV2K",
    ),
    ("PLKSR", foreign(plksr()), {4: (None, None, 26.69), 2: (None, None, 32.99)}, f"{BY_REDUX}, DIV2K"),
    (
        "RealPLKSR", foreign(lambda scale: architectures.PLKSR.RealPLKSR(upscaling_factor=scale)),
        {4: (None, None, None), 2: (None, None, None)}, "",
    ),
    (
        "OmniSR", foreign(lambda scale: architectures.OmniSR.OmniSR(res_num=5, up_scale=scale)),
        {4: (32.49, 27.71, 26.64), 2: (38.22, 32.36, 33.05)}, "Wang et al. 2023, DIV2K",
    ),
    (
        "SwinIR-light", foreign(lambda scale: architectures.SwinIR.SwinIR(
            embed_dim=60, depths=[6] * 4, num_heads=[6] * 4, window_size=8, mlp_ratio=2.0, upscale=scale,
            upsampler="pixelshuffledirect")),
        {4: (32.44, 27.69, 26.47), 2: (38.14, 32.31, 32.76)}, "Liang et al. 2021",
    ),
    (
        "CRAFT", foreign(lambda scale: architectures.CRAFT.CRAFT(upscale=scale)),
        {4: (32.52, 27.72, 26.56), 2: (38.23, 32.33, 32.86)}, "Li et al. 2023",
    ),
    (
        "DAT-light", foreign(lambda scale: architectures.DAT.DAT(
            embed_dim=60, split_size=[8, 32], depth=[18], num_heads=[6], expansion_factor=2.0, upscale=scale,
            upsampler="pixelshuffledirect", resi_connection="3conv")),
        {4: (None, None, 26.64), 2: (None, None, 32.89)}, BY_REDUX,
    ),
    (
        "ATD-light", foreign(lambda scale: architectures.ATD.ATD(
            embed_dim=48, depths=[6] * 4, num_heads=[4] * 4, window_size=16, category_size=128, num_tokens=64,
            reducted_dim=8, mlp_ratio=1, convffn_kernel_size=7, upsampler="pixelshuffledirect", upscale=scale)),
        {4: (32.63, None, 26.97), 2: (38.28, 32.39, 33.27)}, "Zhang et al. 2024",
    ),
    (
        "RRDB (ESRGAN)", foreign(lambda scale: architectures.ESRGAN.ESRGAN(scale=scale)),
        {4: (32.73, 27.85, 27.03), 2: (None, None, None)}, f"[ESRGAN]({ESRGAN})",
    ),
    (
        "RCAN", foreign(lambda scale: architectures.RCAN.RCAN(scale=scale)),
        {4: (32.63, 27.77, 26.82), 2: (38.27, None, 33.34)}, "Zhang et al. 2018",
    ),
    (
        "HAT-S", foreign(lambda scale: architectures.HAT.HAT(
            embed_dim=144, depths=[6] * 6, num_heads=[6] * 6, window_size=16, compress_ratio=24, squeeze_factor=24,
            overlap_ratio=0.5, mlp_ratio=2, upscale=scale, upsampler="pixelshuffle")),
        {4: (32.92, 27.97, 27.87), 2: (None, None, 34.31)}, f"Chen et al. 2023; x2 {BY_REDUX}",
    ),
)  # fmt: skip
