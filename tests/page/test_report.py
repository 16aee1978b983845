"""The report of `maskmaker evaluate` in headless Chromium: read on a desk and on a phone, and printed. test_page.py runs it."""

import base64
import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path

from webdriver import Browser

MODEL = Path(os.environ["MASKMAKER_PAGE_MODEL"])
WORK = Path(os.environ["MASKMAKER_PAGE_WORK"])
SHOTS = os.environ.get("MASKMAKER_PAGE_SHOTS")

browser = None


def setUpModule():
    global browser
    (WORK / "report").mkdir()
    browser = Browser(WORK / "report", os.environ["CHROMEDRIVER"], os.environ["CHROMIUM"])
    unittest.addModuleCleanup(browser.close)


def shot(name, data=None):
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        (Path(SHOTS) / name).write_bytes(data or browser.screenshot())


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        data, cls.output = WORK / "report" / "data", WORK / "report" / "output"
        for name in ("", "_annotation"):
            shutil.copytree(WORK / "pictures" / f"train{name}", data / f"test{name}")
        subprocess.run([os.environ["MASKMAKER_BIN"], "evaluate", "--model", MODEL, "--data", data, "--output", cls.output,
                        "--compare", MODEL, "--min-miou", "0.999", "--robustness", "--robustness-images", "1",
                        "--explain", "1", "--occlusion-grid", "3"], check=True, capture_output=True)
        cls.evaluation = json.loads((cls.output / "evaluation.json").read_text())

    def setUp(self):
        browser.log("performance")
        browser.open((self.output / "report.html").as_uri())

    def tearDown(self):
        browser.devtools("Emulation.clearDeviceMetricsOverride")

    def set_width(self, width, height, is_phone):
        browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone)

    def test_it_shows_the_scores_of_evaluation_json(self):
        scores = self.evaluation["segmentation_metrics"]
        rows = browser.run("return Array.from(document.querySelectorAll('#scores tbody tr'), (row) => "
                           "Array.from(row.cells, (cell) => cell.textContent))")
        low, high = scores["miou"]["interval"]
        self.assertEqual(rows[0][:3], ["mIoU", f"{scores['miou']['value']:.4f}", f"{low:.4f} to {high:.4f}"])
        self.assertEqual(rows[2][1], f"{scores['pixel_accuracy']['value']:.4f}")
        classes = browser.run("return Array.from(document.querySelectorAll('#classes tbody tr'), (row) => "
                              "[row.cells[1].textContent, row.cells[3].textContent])")
        expected = [[each["name"], f"{each['iou']['value']:.4f}" if each["iou"]["value"] is not None else "–"]
                    for each in scores["classes"]]
        self.assertEqual(classes, expected)
        self.assertIn("gate failed: mIoU", browser.text(".failed").lower().replace("miou", "mIoU"))
        self.assertEqual(browser.run("return document.querySelectorAll('#comparison tbody tr').length"), 1 + len(classes))
        images = browser.run("return document.querySelectorAll('.pictures img[alt=truth]').length")
        self.assertEqual(images, scores["images"])
        self.assertEqual(browser.run("return document.querySelectorAll('#robustness tbody tr').length"), 8)
        self.assertGreater(browser.run("return document.querySelectorAll('img[alt=occlusion]').length"), 0)

    def test_it_needs_no_network_and_no_script(self):
        self.assertEqual(browser.run("return document.scripts.length"), 0)
        addresses = set()
        for entry in browser.log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                addresses.add(message["params"]["request"]["url"].split(":")[0])
        self.assertIn("file", addresses)
        self.assertLessEqual(addresses, {"file", "data"})
        broken = browser.run("return Array.from(document.images).filter((image) => !image.naturalWidth).length")
        self.assertEqual(broken, 0)
        self.assertLessEqual((self.output / "report.html").stat().st_size, 10_000_000)

    def test_it_can_be_read_on_a_phone_and_on_a_desk(self):
        for name, width, height, is_phone in (("phone", 360, 780, True), ("desk", 1280, 960, False)):
            self.set_width(width, height, is_phone)
            self.assertLessEqual(browser.run("return document.documentElement.scrollWidth"), width, name)
            size = browser.run("return parseFloat(getComputedStyle(document.body).fontSize)")
            self.assertGreaterEqual(size, 16)
            if SHOTS:
                whole = browser.devtools("Page.captureScreenshot", captureBeyondViewport=True, format="png")
                shot(f"report-{name}.png", base64.b64decode(whole["data"]))

    def test_it_can_be_printed(self):
        printed = base64.b64decode(browser.devtools("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])
        self.assertTrue(printed.startswith(b"%PDF-"))
        self.assertGreater(len(printed), 20_000)
        shot("report.pdf", printed)
