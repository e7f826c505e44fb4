"""The page in a real browser, against a real server."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from audio_files import tone, write
from serve_functions import POISON
from serving import SMALL, renamed, serving
from tsresformer.bundle import Bundle
from tsresformer.serve.settings import Settings

pytestmark = pytest.mark.browser

DESKTOP, TELEPHONE = (1280, 900), (360, 740)
TEXT = ("notes.txt", "text/plain", b"These are notes, not music.\n" * 40)
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        stop = pytest.fail if os.environ.get("TSRESFORMER_REQUIRE_BROWSER") else pytest.skip
        stop("needs Chromium; on Debian: apt-get install chromium")
    options = ["--mute-audio", "--use-fake-device-for-media-stream"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    expect.set_options(timeout=30_000)  # cores may be busy
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


CARD = """# doubtful

<script>alert(1)</script>

| metric | value |
|---|---|
| accuracy | 0.5 |
"""


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped model, less sure of itself, and under another name."""
    folder = tmp_path_factory.mktemp("second") / "doubtful.bundle"
    return renamed(Path("fma-small"), "doubtful", 2.0, folder, CARD, unsure_below=0.99)


@pytest.fixture(scope="module")
def server(second: Bundle) -> Iterator[httpx.Client]:
    usual = Settings()
    limits = {name: getattr(usual, name) for name in SMALL if name != "decoders"}
    with serving(models=("fma-small", str(second.path)), **limits) as client:
        yield client


@pytest.fixture(scope="module")
def song(piece_path: Path) -> Path:
    return Path(os.environ.get("TSRESFORMER_TEST_AUDIO") or piece_path)


@dataclass
class Visit:
    """One browser window on the page, and what it asked for and complained of."""

    page: Page
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def upload(self, file: Path | tuple[str, str, bytes]) -> dict[str, Any]:
        """Give a file to the page's own input, and return what the service answered."""
        if isinstance(file, tuple):
            name, kind, data = file
            payload: Any = {"name": name, "mimeType": kind, "buffer": data}
        else:
            payload = file
        with self.page.expect_response("**/v1/analyse?*") as answer:
            self.page.set_input_files("#file", payload)
        expect(self.page.locator("#busy")).to_be_hidden()
        return dict(answer.value.json())

    def shows(self, analysis: dict[str, Any]) -> None:
        """Check that the page shows this result."""
        track = analysis["track"]
        mark = "?" if track["unsure"] else ""
        expect(self.page.locator("#verdict")).to_have_text(f"{track['label'] or 'Silence'}{mark}")
        expect(self.page.locator("#verdict")).to_be_visible()

    def until(self, expression: str) -> None:
        """Wait for an expression; the page's own policy lets no script be made there."""
        end = time.monotonic() + 30
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(30)

    def value(self) -> str:
        """Position as it is told to assistive technology."""
        return str(self.page.get_attribute("#stage", "aria-valuetext"))

    def position(self) -> int:
        return int(self.page.get_attribute("#stage", "aria-valuenow") or -1)


@pytest.fixture
def visit(chromium: Browser, server: httpx.Client) -> Iterator[Callable[..., Visit]]:
    """Open the page; at the end, no request went elsewhere and nothing was complained of."""
    visits: list[Visit] = []

    def open_page(
        size: tuple[int, int] = DESKTOP, url: str = str(server.base_url), **options: Any
    ) -> Visit:
        width, height = size
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        visit = Visit(context.new_page())
        visits.append(visit)
        context.on("request", lambda request: visit.requested.append(request.url))
        visit.page.on("console", lambda message: visit.complaints.append(message.text))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.goto(url)
        return visit

    yield open_page
    for visit in visits:
        visit.page.context.close()
    for visit in visits:
        hosts = {httpx.URL(url).host for url in visit.requested if not url.startswith("blob:")}
        assert hosts == {"127.0.0.1"}, hosts
        # Chromium reports each status from 400 up; what the page itself does wrong is not among it.
        assert [c for c in visit.complaints if not c.startswith("Failed to load resource")] == []


def percent(share: float) -> str:
    return f"{int(100 * share + 0.5)}\N{NO-BREAK SPACE}%"


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def middles(analysis: dict[str, Any]) -> list[tuple[float, str]]:
    return [
        ((window["start_s"] + window["end_s"]) / 2, window["label"])
        for window in analysis["track"]["timeline"]
    ]


def genre_at(analysis: dict[str, Any], seconds: float) -> str:
    """Genre of the window whose middle is nearest."""
    return min(middles(analysis), key=lambda middle: abs(middle[0] - seconds))[1]


# What is on the screen


def test_song_is_shown_as_the_service_tells_it(
    visit: Callable[..., Visit], server: httpx.Client, song: Path
) -> None:
    it = visit()
    analysis, page = it.upload(song), it.page
    track, seconds = analysis["track"], analysis["seconds"]
    predicted = server.post("/v1/predict", files={"file": (song.name, song.read_bytes())}).json()
    assert track["label"] == predicted["label"]

    it.shows(analysis)
    expect(page.locator("#verdict")).to_be_focused()
    expect(page.locator("#song")).to_have_text(f"{song.name} · {clock(seconds)}")
    best = track["probabilities"][track["label"]]
    expect(page.locator("#certainty")).to_contain_text(percent(best))
    expect(page.locator("#status")).to_contain_text(track["label"])

    ranked = list(track["probabilities"].items())
    page.get_by_role("button", name=f"All {len(ranked)} genres").click()
    rows = page.locator("#genres li")
    for i, (genre, share) in enumerate(ranked):
        assert rows.nth(i).inner_text().split("\n") == [genre, percent(share)]
    widths = page.eval_on_selector_all(
        "#genres .fill",
        "bars => bars.map(bar => bar.offsetWidth / bar.parentElement.offsetWidth)",
    )
    assert widths == pytest.approx([share for _, share in ranked], abs=0.02)

    page.get_by_text("As a table").click()
    cells = page.locator("#stretches tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert cells[0][0] == "0:00"
    assert cells[-1][1] == clock(seconds)
    changes = [
        label
        for i, (_, label) in enumerate(middles(analysis))
        if i == 0 or label != middles(analysis)[i - 1][1]
    ]
    assert [cell[2] for cell in cells] == [label or "Silence" for label in changes]
    legend = {row.split("\n")[0] for row in page.locator("#legend li").all_inner_texts()}
    assert legend == {label or "Silence" for label in changes}
    assert page.get_attribute("#stage", "aria-valuemax") == str(int(seconds + 0.5))


def test_log_mel_is_painted_value_by_value_and_attention_over_it(
    visit: Callable[..., Visit], song: Path
) -> None:
    it = visit()
    analysis, page = it.upload(song), it.page
    read = """async attention => {
        const { paintMel } = await import("/static/drawing.js");
        const picture = paintMel(JSON.parse(attention[0]), attention[1]);
        const { data } = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
        return [picture.width, picture.height, ...data.filter((_, i) => i % 4 === 0)];
    }"""
    mel = analysis["log_mel"]
    width, height, *red = page.evaluate(read, [json.dumps(analysis), False])
    assert (width, height) == (mel["n_columns"], mel["n_mels"])
    plain = np.array(red, dtype=float).reshape(height, width)[::-1].T
    values = np.frombuffer(base64.b64decode(mel["data"]), np.uint8).reshape(width, height)
    shades = [set(plain[values == value]) for value in np.unique(values)]
    assert all(len(shade) == 1 for shade in shades)  # one colour a value
    brightness = [shade.pop() for shade in shades]
    assert brightness == sorted(brightness)  # which gets lighter with it
    assert brightness[-1] - brightness[0] > 200

    red = page.evaluate(read, [json.dumps(analysis), True])[2:]
    veiled = np.array(red, dtype=float).reshape(height, width)[::-1].T
    time = np.array([np.nan if v is None else v for v in analysis["attention"]["time"]])
    bands = np.array(analysis["attention"]["frequency"])
    time, bands = ((a - np.nanmin(a)) / np.ptp(a[~np.isnan(a)]) for a in (time, bands))
    light = 0.4 + 0.6 * np.nan_to_num((time[:, None] + bands) / 2)
    assert np.abs(veiled - plain * light).max() <= 1

    shot = page.locator("#mel").screenshot()
    page.get_by_label("Attention").uncheck()
    assert page.locator("#mel").screenshot() != shot


def test_playhead_follows_clicks_drags_and_the_playing_song(
    visit: Callable[..., Visit], song: Path
) -> None:
    it = visit()
    analysis, page = it.upload(song), it.page
    seconds = analysis["seconds"]
    box = page.locator("#stage").bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2

    def head(stage: str) -> float:
        found = page.locator(f"#{stage} .playhead").bounding_box()
        assert found
        return found["x"] + found["width"] / 2

    page.mouse.click(box["x"] + box["width"] / 2, middle)
    assert it.position() == pytest.approx(seconds / 2, abs=1)
    assert head("stage") == pytest.approx(box["x"] + box["width"] / 2, abs=1.5)
    assert head("mel-stage") == pytest.approx(head("stage"), abs=1.5)  # one axis of time
    assert it.value().endswith(genre_at(analysis, seconds / 2))
    assert page.inner_text("#now-genre") == genre_at(analysis, seconds / 2)

    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], middle, steps=4)
    page.mouse.up()
    assert it.position() == pytest.approx(0.75 * seconds, abs=1)

    mel = page.locator("#mel").bounding_box()
    assert mel
    page.locator("#mel").scroll_into_view_if_needed()
    page.locator("#mel").click(
        position={"x": head("stage") - mel["x"] - 0.5 * box["width"], "y": 99}
    )
    assert it.position() == pytest.approx(0.25 * seconds, abs=1)

    before = page.evaluate("document.getElementById('audio').currentTime")
    assert before == pytest.approx(0.25 * seconds, abs=0.1)
    x = head("stage")
    page.get_by_role("button", name="Play").click()
    it.until(f"document.getElementById('audio').currentTime > {before + 0.5}")
    assert head("stage") > x
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_silence_has_no_genre(visit: Callable[..., Visit], tmp_path: Path) -> None:
    it = visit()
    it.shows(it.upload(write(tmp_path / "silence.wav", np.zeros((48000 * 2, 1), np.float32))))
    expect(it.page.locator("#verdict")).to_have_text("Silence")
    expect(it.page.locator("#certainty")).to_contain_text("nothing to hear")
    expect(it.page.locator("#chances")).to_be_hidden()


def test_file_that_the_browser_cannot_play_is_explored_all_the_same(
    visit: Callable[..., Visit], tmp_path: Path
) -> None:
    it = visit()
    it.upload(write(tmp_path / "tone.aiff", tone(8)))
    expect(it.page.get_by_text("This browser cannot play this file")).to_be_visible()
    expect(it.page.get_by_role("button", name="Play")).to_be_disabled()
    it.page.locator("#stage").press("ArrowRight")
    assert it.position() == 5


# What can be done


def test_everything_is_done_by_the_keyboard(visit: Callable[..., Visit], piece_path: Path) -> None:
    it = visit()
    page, keyboard = it.page, it.page.keyboard
    page.on("filechooser", lambda chooser: chooser.set_files(piece_path))
    expect(page.locator("#example-list button").first).to_be_visible()

    def tab_to(selector: str) -> None:
        for _ in range(25):
            keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline == "solid", f"{selector} does not show its focus"
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to("#choose")
    with page.expect_response("**/analyse?*") as answer:
        keyboard.press("Enter")
    analysis = answer.value.json()
    expect(page.locator("#verdict")).to_be_focused()

    tab_to("#stage")
    it.until("document.getElementById('audio').readyState >= 1")
    for key, position in [
        ("ArrowRight", 5), ("ArrowUp", 10), ("ArrowLeft", 5), ("End", 28), ("ArrowDown", 23),
        ("PageDown", 0), ("PageUp", 28), ("Home", 0),
    ]:  # fmt: skip
        keyboard.press(key)
        assert it.position() == position, key
    keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    keyboard.press("Space")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")

    tab_to("#attention")
    keyboard.press("Space")
    expect(page.locator("#attention")).not_to_be_checked()
    tab_to("#download")
    with page.expect_download() as download:
        keyboard.press("Enter")
    assert download.value.suggested_filename == "piece.ogg.genre.json"
    assert json.loads(Path(download.value.path()).read_text()) == analysis
    tab_to("#card-link")
    keyboard.press("Enter")
    expect(page.locator("#card")).to_be_visible()
    keyboard.press("Escape")
    expect(page.locator("#card-link")).to_be_focused()


def test_song_is_dropped(visit: Callable[..., Visit], piece_path: Path) -> None:
    it = visit()
    transfer = it.page.evaluate_handle(
        """async () => {
            const song = await (await fetch("/v1/examples/piece.ogg")).blob();
            const transfer = new DataTransfer();
            transfer.items.add(new File([song], "dropped.ogg"));
            return transfer;
        }"""
    )
    it.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    expect(it.page.locator("#veil")).to_be_visible()
    with it.page.expect_response("**/analyse?*") as answer:
        it.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(it.page.locator("#veil")).to_be_hidden()
    it.shows(answer.value.json())
    expect(it.page.locator("#song")).to_contain_text("dropped.ogg")


def test_example_and_a_model_that_is_not_sure(
    visit: Callable[..., Visit], server: httpx.Client
) -> None:
    it = visit()
    example = server.get("/v1/examples").json()["examples"][0]
    with it.page.expect_response("**/analyse?*") as first:
        it.page.get_by_role("button", name=example["title"]).click()
    it.shows(first.value.json())
    with it.page.expect_response("**/analyse?*") as second:
        it.page.get_by_label("Model", exact=True).select_option("doubtful")
    it.shows(second.value.json())
    sure, unsure = first.value.json(), second.value.json()
    assert [sure["model"], unsure["model"]] == ["fma-small", "doubtful"]
    label, best = next(iter(unsure["track"]["probabilities"].items()))
    assert best < sure["track"]["probabilities"][label]
    expect(it.page.locator("#verdict")).to_have_text(f"{label}?")
    certainty = it.page.inner_text("#certainty")
    assert certainty.startswith("The model is not sure. This is its best guess, at ")
    assert f"at {percent(best)}; below {percent(0.99)} it" in certainty
    expect(it.page.locator("#protocol")).to_contain_text("doubtful, split protocol “official”")


def test_card_of_the_model_explains_its_accuracy(visit: Callable[..., Visit]) -> None:
    it = visit()
    it.page.get_by_label("Model", exact=True).select_option("doubtful")
    link = it.page.get_by_role("link", name="How its accuracy was measured")
    expect(link).to_have_attribute("href", "/v1/models/doubtful/card")
    link.click()
    card = it.page.locator("#card")
    expect(card.get_by_role("heading", level=1)).to_have_text("doubtful")
    assert card.get_by_role("row").last.inner_text().split() == ["accuracy", "0.5"]
    expect(card).to_contain_text("<script>alert(1)</script>")
    card.get_by_role("button", name="Close").click()
    expect(card).to_be_hidden()


def test_microphone_is_recorded(visit: Callable[..., Visit]) -> None:
    it = visit(permissions=["microphone"])
    it.page.get_by_role("button", name="Record").click()
    expect(it.page.locator("#recorded")).to_have_text("0:02")
    with it.page.expect_response("**/analyse?*") as answer:
        it.page.get_by_role("button", name="Stop and listen").click()
    analysis = answer.value.json()
    assert analysis["track"]["path"] == "recording.webm"
    assert 1.5 < analysis["seconds"] < 6
    it.shows(analysis)
    expect(it.page.locator("#warning")).to_contain_text("Shorter than one slice")
    it.until("Number.isFinite(document.getElementById('audio').duration)")
    it.page.locator("#stage").press("End")
    assert it.position() == int(analysis["seconds"] + 0.5)


def test_missing_permission_is_explained(visit: Callable[..., Visit]) -> None:
    it = visit()
    it.page.get_by_role("button", name="Record").click()
    expect(it.page.get_by_role("heading", name="The microphone is not allowed")).to_be_focused()
    expect(it.page.get_by_role("alert")).to_contain_text("Allow it in the browser's settings")


# What goes wrong


def test_text_file_is_refused_in_words(visit: Callable[..., Visit], piece_path: Path) -> None:
    it = visit()
    problem = it.upload(TEXT)
    assert problem["type"].endswith(":not-audio")
    expect(it.page.get_by_role("heading", name="This is not a song")).to_be_focused()
    alert = it.page.get_by_role("alert")
    expect(alert).to_contain_text("This is no audio: it looks like text; check what it is, or ")
    expect(it.page.get_by_role("button", name="Try again")).to_be_hidden()
    it.page.get_by_role("button", name="Another song").click()
    expect(it.page.locator("#start-title")).to_be_focused()
    it.shows(it.upload(piece_path))


def test_busy_service_and_broken_connection_can_be_tried_again(
    visit: Callable[..., Visit], piece_path: Path
) -> None:
    it = visit()
    answers = [
        lambda route: route.abort(),
        lambda route: route.fulfill(
            status=503,
            headers={"retry-after": "2"},
            content_type=PROBLEM,
            body=json.dumps({"type": "urn:ts-resformer:problem:busy", "detail": "too many"}),
        ),
        lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"),
    ]

    def answer(route: Route) -> None:
        answers.pop(0)(route) if answers else route.continue_()

    it.page.route("**/v1/analyse?*", answer)
    it.page.set_input_files("#file", piece_path)
    for heading, text in [
        ("The service cannot be reached", "Check that you are online and try again."),
        ("Many songs are waiting", "Too many. Try again in 2 seconds."),
        ("Something went wrong", "The service answered with status 502."),
    ]:
        expect(it.page.get_by_role("heading", name=heading)).to_be_focused()
        shown = " ".join(it.page.get_by_role("alert").inner_text().split())
        assert text in shown
        it.page.get_by_role("button", name="Try again").click()
    expect(it.page.locator("#verdict")).to_be_focused()
    assert not answers


def test_example_and_card_that_cannot_be_fetched(visit: Callable[..., Visit]) -> None:
    it = visit()
    fetched: list[Route] = []
    it.page.route("**/v1/examples/*", lambda route: fetched.append(route))
    title = it.page.get_by_role("button", name="Seven Lanterns")
    title.click()
    expect(it.page.locator("#busy-title")).to_have_text("Fetching")
    it.page.get_by_role("button", name="Cancel").click()
    expect(it.page.locator("#start-title")).to_be_focused()
    it.page.unroute("**/v1/examples/*")
    title.click()
    expect(it.page.locator("#verdict")).to_be_focused()
    assert len(fetched) == 1

    it.page.route("**/card", lambda route: route.abort())
    it.page.get_by_role("link", name="How its accuracy was measured").click()
    expect(it.page.get_by_role("heading", name="The service cannot be reached")).to_be_focused()
    it.page.get_by_role("button", name="Try again").click()
    expect(it.page.locator("#verdict")).to_be_focused()


def test_work_is_cancelled(
    visit: Callable[..., Visit], server: httpx.Client, piece_path: Path
) -> None:
    it = visit()
    it.page.set_input_files(
        "#file", {"name": "slow.mp3", "mimeType": "audio/mpeg", "buffer": POISON + b"work 300"}
    )
    expect(it.page.locator("#busy-title")).to_have_text("Listening")
    expect(it.page.locator("#busy-name")).to_have_text("slow.mp3")
    assert it.page.get_attribute("#progress", "value") is None
    it.page.get_by_role("button", name="Cancel").click()
    expect(it.page.locator("#start-title")).to_be_focused()
    it.shows(it.upload(piece_path))
    assert "tsresformer_requests_inside 0.0" in server.get("/metrics").text


def test_upload_shows_its_progress(visit: Callable[..., Visit], tmp_path: Path) -> None:
    it = visit()
    # Slow enough that the upload can be watched: 4 MB at 2 MB/s.
    link = it.page.context.new_cdp_session(it.page)
    link.send("Network.enable")
    link.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2e6},
    )
    shares = it.page.evaluate(
        """async () => {
            const { analyse } = await import("/static/service.js");
            const shares = [];
            const song = new File([new Uint8Array(4e6)], "zeros.bin");
            const signal = new AbortController().signal;
            await analyse(song, "fma-small", { onSent: (share) => shares.push(share), signal })
                .catch((failure) => shares.push(failure.kind));
            return shares;
        }"""
    )
    assert shares.pop() == "not-audio"
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len({share for share in shares if 0 < share < 1}) >= 2


def test_key_is_asked_for_and_used(visit: Callable[..., Visit], piece_path: Path) -> None:
    with serving(api_key="open sesame", decoders=1) as client:
        it = visit(url=str(client.base_url))
        expect(it.page.get_by_role("heading", name="This service asks for a key")).to_be_focused()
        it.page.get_by_label("Key of this service").fill("open sesame")
        it.page.get_by_role("button", name="Use the key").click()
        expect(it.page.locator("#example-list button").first).to_be_visible()
        it.shows(it.upload(piece_path))
        it.page.get_by_role("link", name="How its accuracy was measured").click()
        expect(it.page.locator("#card")).to_contain_text("no artist on both sides")


# How it looks


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (TELEPHONE, "dark")], ids=["desktop", "telephone"]
)
def test_every_state_is_accessible_and_fits(
    visit: Callable[..., Visit], song: Path, size: tuple[int, int], scheme: str
) -> None:
    it = visit(size, color_scheme=scheme, reduced_motion="reduce", has_touch=size == TELEPHONE)
    page, axe = it.page, Axe()

    def check(state: str) -> None:
        found = axe.run(page, options=WCAG).response["violations"]
        told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
        assert told == [], state
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scrolled, visible = page.evaluate(widths)
        assert scrolled <= visible == size[0], state

    expect(page.locator("#example-list button").first).to_be_visible()
    check("start")
    it.upload(song)
    page.get_by_text("As a table").click()
    check("result")
    page.get_by_role("link", name="How its accuracy was measured").click()
    expect(page.locator("#card")).to_be_visible()
    check("card")
    page.keyboard.press("Escape")
    page.locator(".ending .another").click()
    it.upload(TEXT)
    check("problem")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = np.mean([int(part) for part in re.findall(r"\d+", paper)])
    assert (light < 60) if scheme == "dark" else (light > 200)
    page.goto(str(httpx.URL(page.url).join("/v1/models/fma-small/card")))
    check("card as a page")


def test_reduced_motion_stops_animations(visit: Callable[..., Visit], piece_path: Path) -> None:
    names = "getComputedStyle(document.querySelector('#genres .fill')).animationName"
    found = {}
    for wish in ("no-preference", "reduce"):
        it = visit(reduced_motion=wish)
        it.upload(piece_path)
        found[wish] = it.page.evaluate(names)
    assert found == {"no-preference": "grow", "reduce": "none"}
