"""A browser for tests that look at a page; they are skipped where there is none."""

import shutil
from contextlib import contextmanager

import pytest

NOWHERE = "MAP * ~NOTFOUND"
"""Host rules with which a page reaches nothing."""
QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")


@contextmanager
def open_browser(profile, hosts=NOWHERE):
    """A driver of a browser without a window.

    Args:
        profile: an empty folder for what it keeps.
        hosts: Chromium's host rules, whom its pages may reach.
    """
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("no browser to look at the page with: apt-get install -y chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="nothing drives the browser: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in ("headless", "no-sandbox", "no-first-run", *(f"disable-{part}" for part in QUIET)):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--host-resolver-rules={hosts}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    try:
        yield driver
    finally:
        driver.quit()


def show(browser, path, text, width):
    """Write a page, and look at it on a screen of a width in pixels."""
    path.write_text(text, encoding="utf-8")
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(path.as_uri())
