"""The page of `perfctl report` in a real browser without a network, and in an HTML validator."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfctl.render.html import run_page
from perfctl.render.plot import plot_svg, write_plot
from perfctl.report.document import run_document
from perfctl.store import open_store
from tests.chromium import Browser
from tests.unit.report_cases import Fleet, add_fleet

SCREENSHOTS = Path(__file__).parents[2] / ".state" / "screenshots"
"""For people to look at; nothing is compared with them."""

FLEET = Fleet(
    hosts=("h1", "h2"),
    benchmarks=("tcp-rr", "http"),
    environments=("native", "container", "gvisor"),
    blocks=7,
    invalid=(("container", 3),),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with open_store(folder / "results.db", create=True) as store:
        add_fleet(store, FLEET)
        document = run_document(store, "latest")
    path = folder / "report.html"
    path.write_text(run_page(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def page(browser: Browser, report: Path) -> Browser:
    browser.open(report)
    return browser


ROWS = """[...document.querySelectorAll('#forest tbody tr')].filter((row) => !row.hidden)
  .map((row) => row.cells[0].textContent)"""


def test_it_loads_without_a_request_and_without_a_word_on_the_console(page: Browser, report: Path) -> None:
    requests = [item["request"]["url"] for item in page.of("Network.requestWillBeSent")]
    assert requests == [report.as_uri()]
    assert page.of("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    assert page.run("document.querySelectorAll('figure svg').length") == 2 * 2 * 4


def test_what_is_not_in_its_policy_is_not_carried_out(page: Browser) -> None:
    page.run("s = document.createElement('script'); s.textContent = 'evil = 1'; document.body.append(s)")
    assert page.run("window.evil") is None
    assert any("Content Security Policy" in item["entry"]["text"] for item in page.of("Log.entryAdded"))


def test_tables_are_sorted_and_lines_filtered(page: Browser) -> None:
    before = page.run(ROWS)
    page.run("document.querySelector('#forest thead button').click()")
    assert page.run(ROWS) == sorted(before) != before or len(set(before)) == 1
    assert page.run("document.querySelector('#forest thead th').getAttribute('aria-sort')") == "ascending"
    page.run("document.querySelector('#forest thead button').click()")
    assert page.run(ROWS) == sorted(before, reverse=True)
    page.run("f = document.getElementById('filter'); f.value = 'HTTP'; f.dispatchEvent(new Event('input'))")
    assert page.run(ROWS) == ["http"]
    assert page.run("document.getElementById('matches').textContent") == "2 of 6 lines", (
        "the means over all benchmarks are lines, too"
    )


POINT_AT = """(() => {
  const svg = document.querySelector('#b1 figure svg');
  svg.scrollIntoView();
  const place = svg.querySelector('path[data-leg]').getAttribute('d').match(/M(\\d+) (\\d+)/);
  const at = new DOMPoint(Number(place[1]), Number(place[2])).matrixTransform(svg.getScreenCTM());
  svg.dispatchEvent(new PointerEvent('pointermove', {clientX: at.x, clientY: at.y, bubbles: true}));
  return document.getElementById('tip').textContent;
})()"""


def test_the_mark_under_the_pointer_says_its_value(page: Browser) -> None:
    assert re.fullmatch(r"native, block 0: [\d,.]+", page.run(POINT_AT))


def test_it_can_be_walked_by_keyboard(page: Browser) -> None:
    seen = []
    for _ in range(4):
        page.press("Tab", 9)
        seen.append(page.run("document.activeElement.textContent"))
    assert seen == ["Skip to the answer", "Answer", "Forest plot", "tcp-rr"]
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", 13, text="\r")
    assert page.run("location.hash") == "#b1"


OVERLAPS = """[...document.querySelectorAll('figure svg')].flatMap((svg) => {
  const texts = [...svg.querySelectorAll('text')]
    .map((text) => [text.getBoundingClientRect(), text.textContent]);
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1
    && b.top < a.bottom - 1;
  return texts.flatMap(([box, name], place) => texts.slice(place + 1)
    .filter(([other]) => meet(box, other)).map(([, other]) => `${name} | ${other}`));
})"""

OUTSIDE = """[...document.querySelectorAll('figure svg')].flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text, path')].filter((item) => {
    const box = item.getBoundingClientRect();
    return box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2
      || box.bottom > frame.bottom + 2;
  }).map((item) => item.outerHTML.slice(0, 80));
})"""


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_charts_fit_their_frames_and_the_page_its_window(page: Browser, width: int) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
    )
    page.run("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert page.run(OVERLAPS) == []
    assert page.run(OUTSIDE) == []
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.call("Emulation.clearDeviceMetricsOverride")


COST = """[...document.querySelectorAll('#forest tbody tr')].map((row) => {
  const mark = row.querySelector('.mark').getBoundingClientRect();
  const one = row.querySelector('.one').getBoundingClientRect();
  return (mark.left + mark.right) / 2 - (one.left + one.right) / 2;
})"""


def test_what_costs_is_drawn_on_the_right_of_one_and_more_of_it_farther(page: Browser) -> None:
    places = page.run(COST)
    ratios = page.run(
        "[...document.querySelectorAll('#forest tbody td[data-value]')].map((c) => c.dataset.value)"
    )
    assert len(places) == 2 and ratios and all(place > 0 for place in places)
    assert places == sorted(places, reverse=True)


FAINT = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const parsed = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [red, green, blue] = color.map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = parsed(getComputedStyle(element).backgroundColor);
      if (color[3] === 255) { return color; }
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) { continue; }
    if (element.closest('.hidden, script, style')) { continue; }
    const style = getComputedStyle(element);
    const [text, paper] = [parsed(element.closest('svg') ? style.fill : style.color), behind(element)];
    const [low, high] = [light(text), light(paper)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    seen += 1;
    if (ratio < 4.5) { found.push(`${walker.currentNode.data.slice(0, 30)}: ${ratio.toFixed(2)}`); }
  }
  return [seen, found];
})()"""
"""How many texts are visible, and those whose contrast with what lies behind is below that of WCAG AA."""


@pytest.mark.parametrize(
    "features", [[], [{"name": "prefers-color-scheme", "value": "dark"}]], ids=["light", "dark"]
)
def test_every_text_has_the_contrast_of_wcag_aa(page: Browser, features: list[dict[str, str]]) -> None:
    page.call("Emulation.setEmulatedMedia", features=features)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = f"report-{'dark' if features else 'light'}.png"
    (SCREENSHOTS / name).write_bytes(base64.b64decode(page.call("Page.captureScreenshot")["data"]))
    page.run("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    seen, faint = page.run(FAINT)
    page.call("Emulation.setEmulatedMedia", features=[])
    assert seen > 500 and faint == []


SMALL = """[...document.querySelectorAll('figure svg .mark, #forest .mark')].map((mark) => {
  const box = mark.getBoundingClientRect();
  return Math.min(box.width, box.height);
}).filter((size) => size < 6)"""


def test_marks_are_large_enough_to_see_and_texts_to_read(page: Browser) -> None:
    assert page.run("document.querySelectorAll('#forest .mark').length") > 0
    assert page.run(SMALL) == []
    sizes = page.run(
        "[...document.querySelectorAll('figure svg text')].map("
        "(text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"
    )
    assert sizes and min(sizes) >= 9


def test_it_is_dark_where_that_is_wanted(page: Browser) -> None:
    color = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.run(color)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = page.run(color)
    page.call("Emulation.setEmulatedMedia", features=[])
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")


def test_it_prints(page: Browser) -> None:
    content = base64.b64decode(page.call("Page.printToPDF", printBackground=True)["data"])
    assert content.startswith(b"%PDF-") and 4 <= len(re.findall(rb"/Type /Page\b", content)) <= 40


def test_it_is_whole_without_script(browser: Browser, report: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(report)
        root = browser.call("DOM.getDocument", depth=1)["root"]["nodeId"]
        found = {
            selector: len(browser.call("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"])
            for selector in ("figure svg", "thead button", ".controls[hidden]")
        }
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert found == {"figure svg": 16, "thead button": 0, ".controls[hidden]": 1}


COLORS = """(async () => {
  const bytes = Uint8Array.from(atob('%s'), (char) => char.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
  context.drawImage(image, 0, 0);
  const counts = {};
  const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
  for (const pixel of pixels) { counts[pixel] = (counts[pixel] || 0) + 1; }
  return [image.width, image.height, counts];
})()"""
"""The size of a PNG, and how many pixels have each colour, as 0xAABBGGRR."""


def test_a_chart_as_png_has_the_marks_of_its_svg(browser: Browser, report: Path) -> None:
    path = report.with_name("forest.png")
    with open_store(report.with_name("results.db"), read_only=True) as store:
        document = run_document(store, "latest")
    write_plot(document, "forest", path)
    browser.open(report)
    width, height, counts = browser.run(COLORS % base64.b64encode(path.read_bytes()).decode())
    drawing = re.search(r' width="(\d+)" height="(\d+)"', plot_svg(document, "forest"))
    assert drawing and (width, height) == (2 * int(drawing[1]), 2 * int(drawing[2]))
    paper, different, text = (counts.get(str(color), 0) for color in (0xFFFFFFFF, 0xFF123AA8, 0xFF696056))
    assert paper > 0.8 * width * height
    assert different > 4 * 8 * 8, "four marks, and their intervals"
    assert text > 500, "letters"


def test_tidy_finds_nothing_wrong(report: Path) -> None:
    done = subprocess.run(
        ["tidy", "-quiet", "-errors", "-utf8", str(report)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # It does not know this attribute, which ARIA has had since 2017.
    wrong = [line for line in done.stderr.splitlines() if 'proprietary attribute "aria-details"' not in line]
    assert wrong == []
