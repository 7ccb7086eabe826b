"""The pages in a real Chromium: nothing to complain of, all pictures there, the slider moves, on a telephone and on paper."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Percept
from tests.test_visualize_history import write_log

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
TELEPHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    with driver.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, percept: Percept, photos: Path, style_model: Path
) -> dict[str, Path]:
    """A report as it comes, one of a model with a log, and a comparison of three pictures."""
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in ("shipped", "mine", "compared")}
    shutil.copy(style_model, folder / "mine.safetensors")
    write_log(folder / "mine.run", [1 / (1 + step) for step in range(60)])
    pictures = [folder / f"{name}.png" for name in ("one", "two", "three")]
    for picture, strength in zip(pictures, (0, 0.5, 1), strict=True):
        percept("stylize", photos / "hill.png", "-m", style_model, "--strength", strength, "-o", picture)
    for arguments in (
        ("report", "-m", "udnie", "-o", made["shipped"]),
        ("report", "-m", folder / "mine.safetensors", photos / "hill.png", "-o", made["mine"]),
        ("compare", *pictures, "--heat", "-o", made["compared"]),
    ):
        outcome = percept("visualize", *arguments, "--device", "cpu")
        assert outcome.code == 0, outcome.stderr
    return made


def opened(browser: Any, page: Path, **options: Any) -> tuple[Any, list[str]]:
    """The page from disk, and a list that grows by whatever goes wrong or is asked of the network."""
    tab = browser.new_context(**options).new_page()
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or trouble.append(asked.url))
    tab.goto(page.as_uri())
    return tab, trouble


@pytest.mark.parametrize("name", ["shipped", "mine", "compared"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"viewport": {"width": 1200, "height": 900}}, TELEPHONE], ids=["desk", "telephone"])
def test_a_page_loads_whole_and_fits(
    browser: Any, pages: dict[str, Path], name: str, scheme: str, size: dict[str, Any]
) -> None:
    """No message, no request, every picture decoded, no scrolling sideways, and the paper is dark where that is wanted."""
    tab, trouble = opened(browser, pages[name], color_scheme=scheme, **size)
    assert trouble == []
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert tab.evaluate("document.images.length") >= 3
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 22, 22)" if scheme == "dark" else "rgb(255, 255, 255)")
    tab.context.close()


def test_the_slider_uncovers_the_left_picture_by_keys_and_by_dragging(browser: Any, pages: dict[str, Path]) -> None:
    """As much of it as the slider says, from nothing to all."""
    tab, trouble = opened(browser, pages["mine"], viewport={"width": 1200, "height": 900})
    covered = "getComputedStyle(document.querySelector('.shot.left')).clipPath"
    assert tab.evaluate(covered) == "inset(0px calc(50%) 0px 0px)" or "50%" in tab.evaluate(covered)
    slider = tab.locator("input[type=range]").first
    slider.focus()
    slider.press("End")
    assert "50%" not in tab.evaluate(covered) and slider.input_value() == "100"
    box = tab.locator(".stack").first.bounding_box()
    tab.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 5)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 5)
    tab.mouse.up()
    assert float(slider.input_value()) == pytest.approx(25, abs=1.5)
    assert trouble == []
    tab.context.close()


def test_any_two_of_three_pictures_can_be_chosen(browser: Any, pages: dict[str, Path]) -> None:
    """The first two at first; the third on the left when it is asked for."""
    tab, _ = opened(browser, pages["compared"])
    shots = "[...document.querySelectorAll('.shot')].filter(shot => getComputedStyle(shot).visibility == 'visible')"
    visible = f"{shots}.map(shot => shot.textContent)"
    assert tab.evaluate(visible) == ["one", "two"]
    tab.locator("select").first.select_option("2")
    assert tab.evaluate(visible) == ["two", "three"]
    tab.context.close()


def test_on_paper_both_pictures_stand_beside_each_other(browser: Any, pages: dict[str, Path]) -> None:
    """Neither is cut, there is no slider, the paper is white; Chromium makes a PDF of it."""
    tab, _ = opened(browser, pages["shipped"], color_scheme="dark")
    tab.emulate_media(media="print")
    left, right = (tab.locator(".shot").nth(number).bounding_box() for number in (0, 1))
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    assert tab.evaluate("getComputedStyle(document.querySelector('.shot.left')).clipPath") == "none"
    assert not tab.locator("input[type=range]").first.is_visible()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.context.close()


def test_a_report_as_it_comes_is_small(pages: dict[str, Path]) -> None:
    """Small enough to send: under 3 MB."""
    assert pages["shipped"].stat().st_size < 3e6
