"""The page in a real browser, against a real server: what is shown, and what can be done."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from audio_files import tone, write
from browsing import DESKTOP, TELEPHONE, TEXT, Open, clock, percent

pytestmark = pytest.mark.browser

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


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
    visit: Open, server: httpx.Client, song: Path
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


def test_log_mel_is_painted_value_by_value_and_attention_over_it(visit: Open, song: Path) -> None:
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


def test_playhead_follows_clicks_drags_and_the_playing_song(visit: Open, song: Path) -> None:
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

    time = "document.getElementById('audio').currentTime"
    it.until(f"Math.abs({time} - {0.25 * seconds}) < 0.1")
    before = page.evaluate(time)
    x = head("stage")
    page.get_by_role("button", name="Play").click()
    it.until(f"{time} > {before + 0.5}")
    assert head("stage") > x
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_silence_has_no_genre(visit: Open, tmp_path: Path) -> None:
    it = visit()
    it.shows(it.upload(write(tmp_path / "silence.wav", np.zeros((48000 * 2, 1), np.float32))))
    expect(it.page.locator("#verdict")).to_have_text("Silence")
    expect(it.page.locator("#certainty")).to_contain_text("nothing to hear")
    expect(it.page.locator("#chances")).to_be_hidden()


def test_file_that_the_browser_cannot_play_is_explored_all_the_same(
    visit: Open, tmp_path: Path
) -> None:
    it = visit()
    it.upload(write(tmp_path / "tone.aiff", tone(8)))
    expect(it.page.get_by_text("This browser cannot play this file")).to_be_visible()
    expect(it.page.get_by_role("button", name="Play")).to_be_disabled()
    it.page.locator("#stage").press("ArrowRight")
    assert it.position() == 5


# What can be done


def test_everything_is_done_by_the_keyboard(visit: Open, piece_path: Path) -> None:
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


def test_song_is_dropped(visit: Open, piece_path: Path) -> None:
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


def test_example_and_a_model_that_is_not_sure(visit: Open, server: httpx.Client) -> None:
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


def test_card_of_the_model_explains_its_accuracy(visit: Open) -> None:
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


def test_microphone_is_recorded(visit: Open) -> None:
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
    assert abs(it.position() - analysis["seconds"]) < 1  # the browser's length differs a little


def test_missing_permission_is_explained(visit: Open) -> None:
    it = visit()
    it.page.get_by_role("button", name="Record").click()
    expect(it.page.get_by_role("heading", name="The microphone is not allowed")).to_be_focused()
    expect(it.page.get_by_role("alert")).to_contain_text("Allow it in the browser's settings")


# How it looks


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (TELEPHONE, "dark")], ids=["desktop", "telephone"]
)
def test_every_state_is_accessible_and_fits(
    visit: Open, song: Path, size: tuple[int, int], scheme: str
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


def test_reduced_motion_stops_animations(visit: Open, piece_path: Path) -> None:
    names = "getComputedStyle(document.querySelector('#genres .fill')).animationName"
    found = {}
    for wish in ("no-preference", "reduce"):
        it = visit(reduced_motion=wish)
        it.upload(piece_path)
        expect(it.page.locator("#genres .fill").first).to_be_attached()
        found[wish] = it.page.evaluate(names)
    assert found == {"no-preference": "grow", "reduce": "none"}
