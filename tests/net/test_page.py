"""The demo page: what a visitor does with it, in a real browser."""

import re
from pathlib import Path

import pytest
from page_support import Page, chromium, page, screenshot_path  # noqa: F401
from selenium.webdriver.common.keys import Keys

from suite.api import Api
from suite.fixtures import Serve
from suite.ports import free_port
from suite.server import Server

PARAGRAPH = (
    "A stream of events must reach its reader whole, in order and once,\n"
    "although browsers reload, phones sleep and proxies cut the line.\n"
    'Some words are "quoted", some are <marked>, some are élégants: 流れ.\n'
)
TEXT = "   A TITLE\n\n" + "".join(
    f"{PARAGRAPH}\n  {n}. An indented line\twith a tab.\n\n\n" for n in range(10)
)
WORDS = re.findall(r"\S*\s+", TEXT)
EVENTS = len(WORDS) + 1  # and the end
SLOW = 5  # words a second: the text takes a minute


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def server(own_server: Serve, text_file: Path) -> Server:
    return own_server(text=text_file)


class Story:
    """The text as a stream that goes on, and ends, when the test says so."""

    def __init__(self, server: Server) -> None:
        self.api = Api(server.base_url)
        self.stream = self.api.new_stream()
        self.url = f"{server.base_url}/#{self.stream}"
        self.told = 0

    def tell(self, count: int) -> None:
        words = WORDS[self.told : self.told + count]
        self.api.append_many(self.stream, words)
        self.told += len(words)

    def finish(self) -> None:
        self.tell(len(WORDS))
        self.api.complete(self.stream)


@pytest.fixture
def story(server: Server) -> Story:
    return Story(server)


def assert_whole(page: Page) -> None:
    page.until_state("finished")
    assert page.text == TEXT
    assert page.number("events") == EVENTS
    assert page.number("gaps") == page.number("missed") == 0
    assert page.number("duplicates") == 0
    assert page.problems() == []


class TestReading:
    def test_the_whole_text_arrives(self, page: Page, server: Server) -> None:
        page.open(server.base_url)
        assert page.state == "ready"
        page.start(rate=1000)
        assert_whole(page)

    def test_a_cut_line_comes_back_by_itself(self, page: Page, story: Story) -> None:
        page.open(story.url)
        story.tell(20)
        page.until_events(20)
        page.cut()
        story.tell(20)
        page.until_events(40)
        assert page.was_resumed()
        story.finish()
        assert_whole(page)

    def test_a_visitor_can_cut_and_reconnect_at_will(
        self, page: Page, story: Story
    ) -> None:
        page.open(story.url)
        for turn in range(1, 6):
            story.tell(20)
            page.until_events(20 * turn)
            page.cut()
            page.click("reconnect")
            page.until_state("waiting", "receiving")
        story.finish()
        assert_whole(page)

    def test_a_reload_goes_on_where_it_was(self, page: Page, story: Story) -> None:
        page.open(story.url)
        for turn in range(1, 4):
            story.tell(20)
            page.until_events(20 * turn)
            page.browser.refresh()
            assert page.number("events") == 20 * turn
        story.finish()
        assert_whole(page)
        page.browser.refresh()
        assert_whole(page)

    def test_a_reload_while_cut_reconnects(self, page: Page, story: Story) -> None:
        page.open(story.url)
        story.tell(20)
        page.until_events(20)
        page.cut()
        page.browser.refresh()
        story.finish()
        assert_whole(page)

    def test_a_second_reader_reads_from_the_start(
        self, page: Page, story: Story
    ) -> None:
        page.open(story.url)
        story.tell(40)
        page.until_events(40)
        first = page.open_second()
        page.until_events(40)
        page.cut()
        story.finish()
        assert_whole(page)
        page.browser.switch_to.window(first)
        assert_whole(page)

    def test_the_way_back_leads_to_the_stream_before(
        self, page: Page, server: Server
    ) -> None:
        page.open(server.base_url)
        page.start(rate=1000)
        assert_whole(page)
        page.start(rate=20)
        page.until(lambda: page.number("events") < EVENTS)
        page.browser.back()
        assert_whole(page)


class TestEnds:
    def test_a_visitor_can_stop_the_stream(self, page: Page, server: Server) -> None:
        page.open(server.base_url)
        page.start(rate=SLOW)
        page.until_events(10)
        page.open_second()
        page.until_events(10)
        page.click("stop")
        page.until_state("stopped")
        text, events = page.text, page.number("events")
        assert text and TEXT.startswith(text)
        for handle in page.browser.window_handles:
            page.browser.switch_to.window(handle)
            page.until_state("stopped")
            page.browser.refresh()
            assert (page.state, page.text) == ("stopped", text)
            assert page.number("events") == events
            assert page.number("gaps") == page.number("duplicates") == 0
            assert not page.part("stop").is_enabled()

    def test_a_visitor_who_is_cut_off_can_stop_it_too(
        self, page: Page, server: Server
    ) -> None:
        page.open(server.base_url)
        page.start(rate=SLOW)
        page.until_events(5)
        page.cut()
        page.click("stop")
        page.until_state("stopped")

    def test_a_stream_that_is_not_there(self, page: Page, server: Server) -> None:
        page.open(server.base_url + "/#nothing")
        page.until_state("failed")
        assert "does not have" in page.content("note")

    def test_a_server_that_was_restarted(
        self, page: Page, own_server: Serve, text_file: Path
    ) -> None:
        server = own_server(text=text_file, port=free_port())
        page.open(server.base_url)
        page.start(rate=SLOW)
        page.until_events(5)
        server.stop()
        page.until_state("reconnecting")
        own_server(text=text_file, port=server.port)
        page.until_state("failed")
        assert TEXT.startswith(page.text)
        page.start(rate=1000)
        page.problems()  # the browser has told of the server's absence
        assert_whole(page)

    def test_a_gap_is_told_and_counted(
        self, page: Page, own_server: Serve, text_file: Path
    ) -> None:
        server = own_server(text=text_file, log_events=10)
        page.open(server.base_url)
        page.start(rate=100)
        page.until_events(30)
        page.open_second()
        page.until_state("finished")
        assert page.number("gaps") >= 1
        assert page.number("events") + page.number("missed") == EVENTS
        assert page.number("duplicates") == 0
        assert TEXT.endswith(page.text[-40:])


class TestLooks:
    def test_it_asks_nobody_else(self, page: Page, server: Server) -> None:
        page.open(server.base_url)
        page.start(rate=1000)
        page.until_state("finished")
        asked = page.browser.execute_script(
            "return performance.getEntriesByType('resource').map((e) => e.name)"
        )
        assert asked
        assert all(url.startswith(server.base_url + "/") for url in asked), asked

    def test_it_works_with_the_keyboard(self, page: Page, server: Server) -> None:
        page.open(server.base_url)
        page.part("rate").send_keys(Keys.END, Keys.BACKSPACE, Keys.ENTER)  # 2
        page.until_state("receiving")
        focus = page.browser.switch_to.active_element
        focus.send_keys(Keys.TAB * 2, Keys.SPACE)  # past Start, on Cut
        page.until(page.was_resumed)
        page.part("stop").send_keys(Keys.SPACE)
        page.until_state("stopped")
        assert TEXT.startswith(page.text)
        assert page.number("gaps") == page.number("duplicates") == 0
        assert page.problems() == []

    def test_the_command_for_a_terminal(self, page: Page, server: Server) -> None:
        page.open(server.base_url)
        assert not page.part("command").is_displayed()
        page.start(rate=20)
        stream = page.browser.current_url.partition("#")[2]
        assert stream
        command = f"curl -N {server.base_url}/api/stream/{stream}"
        assert page.part("curl").text == command

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_fits_a_narrow_screen(
        self, page: Page, server: Server, scheme: str
    ) -> None:
        page.open(server.base_url)
        page.look(320, 640, scheme)
        page.start(rate=1000)
        page.until_state("finished")
        width = page.browser.execute_script(
            "return document.scrollingElement.scrollWidth"
        )
        assert width <= 320

    def test_its_picture(self, page: Page, own_server: Serve, build_dir: Path) -> None:
        page.open(own_server().base_url)
        page.look(1000, 700, "light")
        page.start(rate=40)
        page.until_events(60)
        page.cut()
        page.until_state("receiving")
        page.until_events(150)
        path = screenshot_path(build_dir)
        path.write_bytes(page.browser.get_screenshot_as_png())
        assert path.stat().st_size > 10_000
