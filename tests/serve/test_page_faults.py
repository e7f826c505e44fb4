"""The page in a real browser, against a real server: what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Route, expect

from browsing import TEXT, Open
from processes import wait_for
from serve_functions import POISON
from serving import serving

pytestmark = pytest.mark.browser

PROBLEM = "application/problem+json"


def test_text_file_is_refused_in_words(visit: Open, piece_path: Path) -> None:
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
    visit: Open, piece_path: Path
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


def test_example_and_card_that_cannot_be_fetched(visit: Open) -> None:
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


def test_work_is_cancelled(visit: Open, server: httpx.Client, piece_path: Path) -> None:
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
    idle = "tsresformer_requests_inside 0.0"  # the decoder's work would take 30 s
    wait_for(lambda: idle in server.get("/metrics").text, 10)


def test_upload_shows_its_progress(visit: Open, tmp_path: Path) -> None:
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


def test_key_is_asked_for_and_used(visit: Open, piece_path: Path) -> None:
    with serving(api_key="open sesame", decoders=1) as client:
        it = visit(url=str(client.base_url))
        expect(it.page.get_by_role("heading", name="This service asks for a key")).to_be_focused()
        it.page.get_by_label("Key of this service").fill("open sesame")
        it.page.get_by_role("button", name="Use the key").click()
        expect(it.page.locator("#example-list button").first).to_be_visible()
        it.shows(it.upload(piece_path))
        it.page.get_by_role("link", name="How its accuracy was measured").click()
        expect(it.page.locator("#card")).to_contain_text("no artist on both sides")


def test_song_given_before_the_models_are_known_waits_for_them(
    visit: Open, piece_path: Path
) -> None:
    it = visit()
    held: list[Route] = []
    it.page.route("**/v1/models", lambda route: held.append(route))
    it.page.reload()
    it.page.set_input_files("#file", piece_path)
    expect(it.page.locator("#busy")).to_be_visible()
    it.page.keyboard.press("Escape")
    expect(it.page.locator("#start")).to_be_visible()
    with it.page.expect_response("**/v1/analyse?*") as answer:
        it.page.set_input_files("#file", piece_path)
        it.until("!document.getElementById('busy').hidden")
        held.pop().continue_()
    assert held == []
    it.shows(answer.value.json())
    assert sum("/v1/analyse" in url for url in it.requested) == 1


def test_models_that_come_late_wipe_no_problem_away(visit: Open) -> None:
    it = visit()
    held: list[Route] = []
    it.page.route("**/v1/models", lambda route: held.append(route))
    it.page.reload()
    it.page.get_by_role("button", name="Record").click()
    denied = it.page.get_by_role("heading", name="The microphone is not allowed")
    expect(denied).to_be_focused()
    with it.page.expect_response("**/v1/models"):
        held.pop().continue_()
    expect(it.page.locator("#example-list button").first).to_be_attached()
    expect(denied).to_be_visible()


def test_song_given_up_before_the_models_fail_is_not_tried_again(
    visit: Open, piece_path: Path
) -> None:
    it = visit()
    held: list[Route] = []
    it.page.route("**/v1/models", lambda route: held.append(route))
    it.page.reload()
    it.page.set_input_files("#file", piece_path)
    expect(it.page.locator("#busy")).to_be_visible()
    it.page.keyboard.press("Escape")
    held.pop().abort()
    expect(it.page.get_by_role("heading", name="The service cannot be reached")).to_be_focused()
    it.page.get_by_role("button", name="Try again").click()
    it.until("!document.getElementById('busy').checkVisibility()")
    held.pop().continue_()
    expect(it.page.locator("#start-title")).to_be_focused()
    it.shows(it.upload(piece_path))


def test_song_given_before_the_key_is_sent_with_it(visit: Open, piece_path: Path) -> None:
    with serving(api_key="open sesame", decoders=1) as client:
        it = visit(url=str(client.base_url))
        expect(it.page.get_by_role("heading", name="This service asks for a key")).to_be_focused()
        it.page.set_input_files("#file", piece_path)
        expect(it.page.get_by_role("heading", name="This service asks for a key")).to_be_focused()
        it.page.get_by_label("Key of this service").fill("open sesame")
        with it.page.expect_response("**/v1/analyse?*") as answer:
            it.page.get_by_role("button", name="Use the key").click()
        it.shows(answer.value.json())
