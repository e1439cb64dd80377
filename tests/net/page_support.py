"""The demo page in a headless Chromium."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

TIMEOUT_S = 60
CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Page:
    """The tab that is in front, by what the page calls its parts."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def open(self, url: str) -> None:
        self.browser.get(url)

    def part(self, name: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, f"[data-testid={name}]")

    def click(self, name: str) -> None:
        self.part(name).click()

    def content(self, name: str) -> str:
        return str(self.part(name).get_property("textContent"))

    def number(self, name: str) -> int:
        return int(self.content(name))

    @property
    def state(self) -> str:
        return self.content("state")

    @property
    def text(self) -> str:
        return self.content("text")

    def until(self, condition: Callable[[], bool]) -> None:
        WebDriverWait(self.browser, TIMEOUT_S, 0.02).until(lambda _: condition())

    def until_state(self, *states: str) -> None:
        self.until(lambda: self.state in states)

    def until_events(self, count: int) -> None:
        self.until(lambda: self.number("events") >= count)

    def start(self, rate: int) -> None:
        self.part("rate").clear()
        self.part("rate").send_keys(str(rate))
        self.click("start")
        self.until_state("receiving", "finished")  # it may be that quick

    def cut(self) -> None:
        """Clicks, and looks before the two seconds can have passed."""
        script = "arguments[0].click(); return arguments[1].textContent"
        found = self.browser.execute_script(
            script, self.part("cut"), self.part("state")
        )
        assert found == "cut"

    def was_resumed(self) -> bool:
        return bool(self.browser.find_elements(By.CLASS_NAME, "seam"))

    def open_second(self) -> str:
        """Follows the link to a second reader, and gives the first tab."""
        first = str(self.browser.current_window_handle)
        known = set(self.browser.window_handles)
        self.click("second")
        self.until(lambda: len(self.browser.window_handles) > len(known))
        (second,) = set(self.browser.window_handles) - known
        self.browser.switch_to.window(second)
        return first

    def look(self, width: int, height: int, scheme: str) -> None:
        """Sets the size of the window, and "light" or "dark"."""
        scale = {"deviceScaleFactor": 1, "mobile": False}
        size = {"width": width, "height": height, **scale}
        feature = {"name": "prefers-color-scheme", "value": scheme}
        send = self.browser.execute_cdp_cmd
        send("Emulation.setDeviceMetricsOverride", size)
        send("Emulation.setEmulatedMedia", {"features": [feature]})

    def problems(self) -> list[str]:
        """What the browser complained about."""
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    for program in (CHROMIUM, CHROMEDRIVER):
        if not os.access(program, os.X_OK):
            pytest.fail(f"{program} is missing: scripts/install_packages.sh test")
    profile = tmp_path_factory.mktemp("chromium")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(CHROMEDRIVER))
    yield browser
    browser.quit()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def page(chromium: Chrome) -> Iterator[Page]:
    """A new tab, the only one."""
    keep = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    fresh = chromium.current_window_handle
    _close_all_but(chromium, fresh)
    assert keep not in chromium.window_handles
    page = Page(chromium)
    page.problems()  # those of the test before
    yield page
    chromium.switch_to.window(chromium.window_handles[0])


def _close_all_but(browser: Chrome, keep: str) -> None:
    for handle in browser.window_handles:
        if handle != keep:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(keep)


def screenshot_path(build_dir: Path) -> Path:
    """docs/page.png when SSE_UPDATE_SCREENSHOT=1, else one in the build."""
    if os.environ.get("SSE_UPDATE_SCREENSHOT") == "1":
        return Path(__file__).resolve().parents[2] / "docs" / "page.png"
    return build_dir / "page.png"
