"""The table of upscalers: it times in turns, its networks are those of the papers, its own figures the manifest's."""

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.errors import UsageError
from tests.conftest import ROOT

# Parameters at x4, as the authors' configurations have them: by the benchmarks of traiNNer-redux, and in thousands by the
# papers of SPAN and CRAFT and the page of SAFMN
EXACT = {
    "Compact": 621_424, "PLKSR-tiny": 2_370_544, "PLKSR": 7_386_096, "RealPLKSR": 7_389_680, "OmniSR": 805_376,
    "SwinIR-light": 929_628, "DAT-light": 572_766, "ATD-light": 768_792, "RRDB (ESRGAN)": 16_697_987,
}  # fmt: skip
THOUSANDS = {"SPAN": 498, "CRAFT": 753, "SAFMN": 240}


@pytest.fixture(scope="module")
def networks() -> Iterator[ModuleType]:
    """bench/upscaler_networks.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        import upscaler_networks

        yield upscaler_networks


@pytest.fixture(scope="module")
def table(networks: ModuleType) -> Iterator[ModuleType]:
    """bench/upscalers.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        import upscalers

        yield upscalers


class Machine:
    """A clock of seconds, and passes that take some of them, more while the machine does other work."""

    def __init__(self) -> None:
        self.now, self.slowness = 0.0, 1.0

    def taking(self, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += self.slowness * seconds

        return run


def test_ratios_hold_on_a_machine_that_becomes_slower(table: ModuleType) -> None:
    """A pass of three times the work has a ratio of 3, though the machine is ever slower; the reference has 1."""
    machine = Machine()

    def slower(run: Callable[[], None]) -> Callable[[], None]:
        def both() -> None:
            run()
            machine.slowness *= 1.001

        return both

    passes = {"swift": slower(machine.taking(1.0)), "other": slower(machine.taking(3.0))}
    timings = table.time_in_turns(passes, 9, 1e9, lambda: machine.now)
    assert timings["swift"].ratios == [1.0] * 9
    assert timings["other"].ratios == pytest.approx([3.0] * 9, rel=0.002)
    assert timings["other"].seconds[-1] > timings["other"].seconds[0]


def test_a_slow_network_is_timed_fewer_times(table: ModuleType) -> None:
    """Until its passes took the limit; once is the least."""
    machine = Machine()
    passes = {"swift": machine.taking(0.1), "slow": machine.taking(1.0), "very slow": machine.taking(60.0)}
    timings = table.time_in_turns(passes, 9, 2.0, lambda: machine.now)
    assert [len(timing.seconds) for timing in timings.values()] == [9, 3, 1]


@pytest.mark.parametrize("scale", [2, 4])
def test_own_figures_are_the_manifests_and_marked_as_measured(networks: ModuleType, scale: int) -> None:
    """Of every shipped upscaler of the scale for clean pictures, and of no other row."""
    own = {row.name: row.psnr for row in networks.listed(scale) if row.source == networks.HERE}
    clean = [model for model in shipped_models().values() if (model.scale, model.input) == (scale, "clean")]
    shipped = {model.name: model.figures for model in clean}
    assert own.keys() == shipped.keys()
    for name, figures in shipped.items():
        assert own[name] == {each: figures.get(f"{each}_psnr") for each in ("set5", "bsd100", "urban100")}


def test_published_figures_have_a_source(networks: ModuleType) -> None:
    for row in networks.others(4) + networks.others(2):
        assert row.source or not any(row.psnr.values()), row.name


@pytest.mark.parametrize("name", [*EXACT, *THOUSANDS])
def test_networks_have_the_parameters_of_those_with_the_figures(networks: ModuleType, name: str) -> None:
    """Else their figures would be those of another network."""
    network = next(row for row in networks.others(4) if row.name == name).build()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == EXACT[name] if name in EXACT else round(count / 1e3) == THOUSANDS[name]


def test_span_merged_is_span(networks: ModuleType) -> None:
    """The merged convolutions give what spandrel's own give, which it merges in every pass."""
    import torch
    from spandrel import architectures

    from percept_cli.core.pretrained.foreign_upscalers import create_foreign_upscaler

    span = architectures.SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2)
    as_loaded = create_foreign_upscaler(span.state_dict(), "SPAN").eval()
    image = torch.rand(1, 3, 12, 12)
    with torch.inference_mode():
        wanted = as_loaded(image)
        assert torch.equal(networks.merge(as_loaded)(image), wanted)


def test_the_tables_replace_those_before_them(table: ModuleType) -> None:
    """What stands around the marks is kept, and doing it twice is doing it once."""
    row = table.Row("swift-x4", 1234.5, 1.0, 657264, 19, True, {"set5": 31.8088}, "measured here")
    part = table.section({4: [row]}, "Measured on a machine.")
    page = f"# Upscaling\n\n{table.BEGIN}\nold\n{table.END}\n\n## Next\n"
    replaced = table.replace_section(page, part)
    assert replaced == f"# Upscaling\n\n{part}\n\n## Next\n" == table.replace_section(replaced, part)
    assert "| swift-x4 | 1,234 | 1 | 0.66 M | 19 | exact | **31.81** |  |  | measured here |" in part
    with pytest.raises(UsageError, match="has no lines"):
        table.replace_section("# Upscaling\n", part)


def test_labels_of_the_plot_keep_apart(table: ModuleType) -> None:
    """Of networks that are close together, no label covers another or a point."""
    import upscaler_plot

    near = [upscaler_plot.Point(f"network {number}", 1.0 + number / 50, 32.0, False) for number in range(4)]
    points = [*near, upscaler_plot.Point("far", 100.0, 33.0, True)]
    places, offsets = upscaler_plot.pixels(points), upscaler_plot.label_offsets(points)
    boxes = [
        (x + right, y + up - 7, x + right + upscaler_plot.LETTER * len(point.name), y + up + 7)
        for point, (x, y), (right, up) in zip(points, places, offsets, strict=True)
    ]
    assert not any(upscaler_plot.overlap(one, other) for number, one in enumerate(boxes) for other in boxes[:number])
