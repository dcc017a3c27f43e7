"""`python -m benchmarks.page FOLDER LINES`: serve a project and show its next run in Chromium.

It prints what the page's script took for 10,000 lines, and how long lines were under way until they stood in the page.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import CDPSession, Page, sync_playwright


# Notes for each line that comes into the log how long ago it was said.
WATCH = """
window.delays = [];
new MutationObserver(changes => {
  const now = Date.now() / 1000;
  for (const change of changes) for (const added of change.addedNodes) {
    for (const line of added.matches?.("li") ? [added] : added.querySelectorAll?.("li") ?? []) {
      const said = /at (\\d+\\.\\d+) /.exec(line.textContent);
      if (said) window.delays.push(now - Number(said[1]));
    }
  }
}).observe(document, {childList: true, subtree: true});
"""


def main(folder: Path, lines: int) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("ready", flush=True)
        print("there is no chromium", flush=True)
        return
    command = [sys.executable, "-m", "stagerun", "serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found = re.search(r"http://[\d.:]+/", server.stdout.readline())
    assert found is not None
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(bypass_csp=True)
            page.add_init_script(WATCH)
            page.goto(f"{found[0]}?token={(folder / '.stagerun' / 'web-token').read_text().strip()}")
            print("ready", flush=True)
            print(json.dumps(_watched(page, found[0], folder, lines)), flush=True)
            browser.close()
    finally:
        server.kill()
        server.wait()


def _watched(page: Page, address: str, folder: Path, lines: int) -> dict[str, float]:
    while not (folder / "run-id").exists() or not (folder / "run-id").read_text().strip():
        time.sleep(0.005)
    page.goto(f"{address}runs/{(folder / 'run-id').read_text().strip()}")
    protocol = page.context.new_cdp_session(page)
    protocol.send("Performance.enable")
    before = _script(protocol)
    page.wait_for_selector("main:not([data-live])", timeout=300_000)
    delays = sorted(page.evaluate("window.delays"))
    return {
        "script_seconds_per_10000_lines": round((_script(protocol) - before) * 10_000 / lines, 4),
        "lines_in_page": len(delays),
        "median_ms": round(1000 * statistics.median(delays)),
        "p99_ms": round(1000 * delays[len(delays) * 99 // 100]),
    }


def _script(protocol: CDPSession) -> float:
    """Return the seconds that scripts have taken so far."""
    metrics = protocol.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "ScriptDuration"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
