"""What people do with the page at `/`, in headless Chromium against a real server. tests/page/run.sh calls it."""

import json
import os
import sys
import time
import unittest
from pathlib import Path

from png import Png
from server import Server, copied
from test_report import Report  # noqa: F401, its tests run with those here.
from webdriver import DOWN, ENTER, LEFT, RIGHT, SHIFT, SPACE, TAB, Browser

MODEL = Path(os.environ["MASKMAKER_PAGE_MODEL"])
WORK = Path(os.environ["MASKMAKER_PAGE_WORK"])
SHOTS = os.environ.get("MASKMAKER_PAGE_SHOTS")
PICTURE = sorted((WORK / "pictures" / "train").glob("*.jpg"))[0]
OPTIONS = "X-Amzn-SageMaker-Custom-Attributes"

# The page after the next time that `state` or `problem` tells an end; the promise is waited for.
SETTLED = """
  const [state, problem] = ["state", "problem"].map((id) => document.getElementById(id));
  const settled = () => !state.classList.contains("busy") && (state.textContent !== "" || !problem.hidden);
  return new Promise((done) => {
    if (settled()) return done();
    const watch = new MutationObserver(() => { if (settled()) { watch.disconnect(); done(); } });
    watch.observe(document.querySelector("main"), { subtree: true, childList: true, attributes: true, characterData: true });
  });"""
# Keeps what the page sends and gets, as the page itself does not show it.
SPY = """
  window.seen = [];
  const real = window.fetch;
  window.fetch = async (...all) => {
    const answer = await real(...all);
    window.seen.push({ address: answer.url, sent: all[1]?.headers ?? {}, echoed: answer.headers.get("%s"), status: answer.status });
    return answer;
  };""" % OPTIONS
FILE = "const file = new File([Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0))], arguments[1], { type: arguments[2] });"

browser = server = None


def setUpModule():
    global browser, server
    server = Server(copied(MODEL, WORK / "single" / "model") and WORK / "single")
    unittest.addModuleCleanup(server.stop)
    server.wait()
    browser = Browser(WORK, os.environ["CHROMEDRIVER"], os.environ["CHROMIUM"])
    unittest.addModuleCleanup(browser.close)


def shot(name):
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        (Path(SHOTS) / f"{name}.png").write_bytes(browser.screenshot())


def base64_of(path):
    import base64
    return base64.b64encode(Path(path).read_bytes()).decode()


class OnThePage(unittest.TestCase):
    maxDiff = None
    url = property(lambda self: server.url)

    def setUp(self):
        browser.post("/window/rect", {"width": 1280, "height": 1100})
        browser.log("browser"), browser.log("performance")
        browser.open(self.url + "/")
        browser.run(SPY)

    def choose(self, path):
        browser.type("#file", str(path))
        browser.run(SETTLED)

    def segmented(self, path=PICTURE):
        self.choose(path)
        self.assertTrue(browser.is_shown("#result"), browser.text("main"))

    def click(self, selector):
        browser.run("document.querySelector(arguments[0]).scrollIntoView({ block: 'center' })", selector)
        browser.click(selector)

    def pixels(self, points):
        """Red, green, blue and opacity on the canvas."""
        return browser.run(
            "const context = document.getElementById('canvas').getContext('2d');"
            "return arguments[0].map(([x, y]) => Array.from(context.getImageData(x, y, 1, 1).data));", points)

    def saved(self, button, name):
        path = WORK / "downloads" / name
        path.unlink(missing_ok=True)
        self.click(button)
        deadline = time.monotonic() + 30
        while not path.exists():
            self.assertLess(time.monotonic(), deadline, f"{name} was not downloaded")
            time.sleep(0.05)
        return Png(path.read_bytes())


def answer_for(path=PICTURE, **headers):
    return server.json("/invocations", Path(path).read_bytes(), Content_Type="image/jpeg", Accept="application/json", **headers)


def mask_for(path=PICTURE):
    status, _, body = server.ask("/invocations", Path(path).read_bytes(), Content_Type="image/jpeg", Accept="image/png")
    assert status == 200, body
    return Png(body)


def grid(mask, step=13):
    return [(x, y) for y in range(0, mask.height, step) for x in range(0, mask.width, step)]


class Page(OnThePage):
    def test_a_chosen_image_gets_a_legend_that_agrees_with_the_servers_answer(self):
        self.segmented()
        classes = answer_for()["classes"]
        here = sorted(classes, key=lambda c: -c["pixels"])
        percent = lambda share: "< 0.1 %" if 0 < share < .0005 else f"{100 * share:.1f} %"
        got = browser.run(
            "return Array.from(document.getElementById('legend').rows, (row) => [...Array.from(row.cells, (cell) => cell.textContent),"
            " getComputedStyle(row.querySelector('.swatch')).backgroundColor])")
        self.assertEqual([row[0] for row in got], [c["name"] for c in here])
        self.assertEqual([row[1] for row in got], [percent(c["share"]) for c in here])
        self.assertEqual([row[2] for row in got], [percent(c["confidence"]) for c in here])
        self.assertEqual([row[3] for row in got], ["rgb({}, {}, {})".format(*bytes.fromhex(c["color"][1:])) for c in here])
        self.assertAlmostEqual(sum(c["share"] for c in here), 1, places=5)
        self.assertIn(PICTURE.name, browser.text("#state"))
        self.assertEqual(browser.text("#server"), "ready")
        shot("overlay")

    def test_the_mask_on_the_canvas_is_the_servers_png(self):
        self.segmented()
        self.click("input[value=mask]")
        browser.run("return new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame)).then(() => null)")
        mask = mask_for()
        self.assertGreater(len({mask.at(x, y) for x, y in grid(mask)}), 1, "the model tells no classes apart, which tests nothing")
        size = browser.run("const { width, height } = document.getElementById('canvas'); return [width, height]")
        self.assertEqual(size, [mask.width, mask.height])
        points = grid(mask)
        self.assertEqual([tuple(pixel) for pixel in self.pixels(points)], [(*mask.palette[mask.at(x, y)], 255) for x, y in points])
        shot("mask")

    def test_the_slider_blends_the_classes_over_the_image(self):
        self.segmented()
        frame = "return new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame)).then(() => null)"
        self.click("input[value=image]")
        browser.run(frame)
        mask = mask_for()
        # Inside regions: outlines are stronger.
        same = lambda x, y: len({mask.at(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}) == 1
        points = [(x, y) for x, y in grid(mask, 5) if 0 < x < mask.width - 1 and 0 < y < mask.height - 1 and same(x, y)]
        plain = self.pixels(points)
        self.click("input[value=overlay]")
        for percent in (20, 50, 100):
            browser.run("const slider = document.getElementById('opacity'); slider.value = arguments[0];"
                        "slider.dispatchEvent(new Event('input', { bubbles: true }))", percent)
            browser.run(frame)
            self.assertEqual(browser.text("#percent"), f"{percent} %")
            for (x, y), before, now in zip(points, plain, self.pixels(points)):
                cover = 0 if mask.at(x, y) == 0 else percent / 100
                for channel, color in enumerate(mask.palette[mask.at(x, y)]):
                    self.assertAlmostEqual(now[channel], before[channel] * (1 - cover) + color * cover, delta=3)

    def test_a_class_can_be_left_out_of_the_painting(self):
        self.segmented()
        self.click("input[value=mask]")
        mask = mask_for()
        first = int(browser.run("return document.querySelector('#legend tr').dataset.id"))
        self.click("#legend input")
        for (x, y), pixel in zip(grid(mask), self.pixels(grid(mask))):
            self.assertEqual(pixel[3], 0 if mask.at(x, y) == first else 255)

    def test_the_pointer_tells_the_class_under_it(self):
        self.segmented()
        mask, names = mask_for(), {c["id"]: c["name"] for c in answer_for()["classes"]}
        left, top, wide, high = browser.run(
            "const canvas = document.getElementById('canvas'); canvas.scrollIntoView({ block: 'center' });"
            "const { left, top, width, height } = canvas.getBoundingClientRect(); return [left, top, width, height];")
        wanted = {}
        for x, y in grid(mask, 7):
            wanted.setdefault(mask.at(x, y), (x, y))
        for class_id, (x, y) in wanted.items():
            # The middle of the pixel; the mouse moves by whole ones of the screen, and so may hit a neighbor.
            browser.point(left + (x + .5) * wide / mask.width, top + (y + .5) * high / mask.height)
            said = browser.text("#under")
            name, (got_x, got_y) = said.rsplit(" at ", 1)[0], map(int, said.rsplit(" at ", 1)[1].split(","))
            self.assertLessEqual(max(abs(got_x - x), abs(got_y - y)), 1)
            self.assertEqual(name, names[mask.at(got_x, got_y)])
            self.assertIn(name, browser.text("#tip"))
            self.assertEqual(browser.text("#legend tr.pointed th"), name)
        shot("pointer")

    def test_the_times_of_the_server_are_shown(self):
        self.segmented()
        shown = browser.text("#times").splitlines()
        for stage in ("decode", "queue", "model", "encode", "server in all", "from here and back"):
            self.assertIn(stage, shown)

    def test_options_are_sent_and_understood(self):
        self.segmented()
        self.click("#tile")
        self.click("#flip")
        self.click("#again")
        browser.run(SETTLED)
        first, second = [one for one in browser.run("return window.seen") if one["address"].endswith("/invocations")]
        self.assertEqual([first["status"], second["status"]], [200, 200])
        self.assertEqual(first["echoed"], first["sent"][OPTIONS])
        self.assertEqual(second["echoed"], second["sent"][OPTIONS])
        self.assertNotIn("tile=true", first["echoed"])
        self.assertIn("tile=true", second["echoed"])
        self.assertIn("flip=true", second["echoed"])
        flipped = answer_for(**{OPTIONS: "tile=true,flip=true"})["classes"]
        here = max(flipped, key=lambda c: c["pixels"])
        self.assertEqual(browser.text("#legend td"), f"{100 * here['share']:.1f} %")
        self.assertIn(f"{OPTIONS}: tile=true,flip=true", browser.run("return document.getElementById('curl').textContent"))

    def test_the_downloaded_mask_is_the_servers_and_the_overlay_what_is_seen(self):
        self.segmented()
        mask, stem = self.saved("#save-mask", f"{PICTURE.stem}.mask.png"), mask_for()
        self.assertEqual((mask.width, mask.height, mask.rows), (stem.width, stem.height, stem.rows))
        used = {class_id for row in stem.rows for class_id in row}
        self.assertEqual({i: mask.palette[i] for i in used}, {i: stem.palette[i] for i in used})
        overlay = self.saved("#save-overlay", f"{PICTURE.stem}.overlay.png")
        points = grid(stem)
        self.assertEqual([overlay.at(x, y)[:3] for x, y in points], [tuple(pixel[:3]) for pixel in self.pixels(points)])

    def test_a_dropped_image_is_segmented(self):
        browser.run(FILE + "const dataTransfer = new DataTransfer(); dataTransfer.items.add(file);"
                    "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))",
                    base64_of(PICTURE), "dropped.jpg", "image/jpeg")
        browser.run(SETTLED)
        self.assertIn("dropped.jpg", browser.text("#state"))
        self.assertTrue(browser.is_shown("#canvas"))

    def test_a_pasted_image_is_segmented(self):
        browser.run(FILE + "const clipboardData = new DataTransfer(); clipboardData.items.add(file);"
                    "document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))",
                    base64_of(PICTURE), "pasted.jpg", "image/jpeg")
        browser.run(SETTLED)
        self.assertIn("pasted.jpg", browser.text("#state"))

    def test_an_image_that_the_browser_cannot_show_still_gets_its_mask(self):
        # Rows of 8 gray levels as NPY, which no browser opens.
        head = "{'descr': '|u1', 'fortran_order': False, 'shape': (24, 32, 3), }".encode().ljust(117) + b"\n"
        path = WORK / "array.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(32 * (i // 96 % 8) for i in range(24 * 96)))
        self.segmented(path)
        self.assertIn("cannot show the image", browser.text("#state"))
        self.assertEqual(browser.run("return document.querySelector('input[name=view]:checked').value"), "mask")
        self.assertEqual({pixel[3] for pixel in self.pixels([(0, 0), (31, 23), (16, 12)])}, {255})
        self.segmented()
        self.assertNotIn("cannot show", browser.text("#state"))

    def test_a_refusal_is_shown_in_the_servers_own_words_and_goes_away(self):
        path = WORK / "notes.txt"
        path.write_text("no image\n")
        self.choose(path)
        status, _, body = server.ask("/invocations", path.read_bytes(), Content_Type="application/x-image", Accept="application/json")
        refusal = json.loads(body)
        self.assertEqual((status, refusal["error_type"]), (422, "UndecodableImage"))
        self.assertEqual(browser.text("#problem-words"), refusal["error"])
        self.assertEqual(browser.text("#problem-name"), "UndecodableImage")
        self.assertEqual(browser.text("#problem-status"), "422")
        self.assertFalse(browser.is_shown("#result"))
        shot("refusal")
        self.segmented()
        self.assertFalse(browser.is_shown("#problem"))

    def test_it_can_be_used_by_keyboard_alone(self):
        browser.keys(TAB)
        self.assertEqual(browser.run("return document.activeElement.id"), "file")
        self.assertNotEqual(browser.run("return getComputedStyle(document.getElementById('drop')).outlineStyle"), "none")
        self.segmented()
        browser.run("document.getElementById('file').focus()")
        browser.keys(TAB, TAB, SPACE)
        self.assertTrue(browser.run("return document.getElementById('flip').checked"))
        browser.keys(TAB, ENTER)
        browser.run(SETTLED)
        browser.keys(TAB, RIGHT)
        self.assertEqual(browser.run("return document.querySelector('input[name=view]:checked').value"), "mask")
        browser.keys(LEFT, TAB, RIGHT)
        self.assertEqual(browser.text("#percent"), "51 %")
        browser.keys(TAB)
        self.assertEqual(browser.run("return document.activeElement.id"), "canvas")
        names = {c["id"]: c["name"] for c in answer_for()["classes"]}
        browser.keys(DOWN, RIGHT)
        there = browser.run("return document.getElementById('said').textContent")
        browser.keys((SHIFT, RIGHT))
        beside = browser.run("return document.getElementById('said').textContent")
        x, y = (int(number) for number in there.rsplit(" at ", 1)[1].split(","))
        self.assertTrue(beside.endswith(f" at {x + 1}, {y}"), (there, beside))
        self.assertIn(beside.rsplit(" at ", 1)[0], names.values())
        shot("keyboard")

    def test_every_control_has_a_name_for_assistive_technology(self):
        self.segmented()
        nameless = [browser.role_and_label(element) for element in browser.find_all("input, button, select, canvas, a, summary, table")
                    if not browser.role_and_label(element)[1]]
        # The disclosure's name is its content.
        self.assertEqual([role for role, _ in nameless if role not in ("DisclosureTriangle", "none")], [])
        roles = {element: browser.get(f"/element/{browser.find(element)}/computedrole") for element in ("#state", "#problem")}
        self.assertEqual(roles["#state"], "status")
        self.assertEqual(browser.run("return document.documentElement.lang"), "en")

    def test_text_is_readable_in_light_and_in_dark(self):
        papers = set()
        for scheme in ("light", "dark"):
            browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            self.segmented()
            worst = browser.run("""
              const channels = (text) => text.match(/[\\d.]+/g).map(Number);
              const light = (text) => channels(text).slice(0, 3).map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
                .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
              const paper = (element) => {
                for (; element; element = element.parentElement) {
                  const color = getComputedStyle(element).backgroundColor, parts = channels(color);
                  if (parts.length < 4 || parts[3] === 1) return color;
                }
                return "rgb(255, 255, 255)";
              };
              const worst = { ratio: 99 };
              for (const element of document.querySelectorAll("main *, header *, footer *")) {
                const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
                if (!own || !element.checkVisibility() || element.closest(".unseen")) continue;
                const [a, b] = [light(getComputedStyle(element).color), light(paper(element))].sort((x, y) => y - x);
                const ratio = (a + .05) / (b + .05);
                if (ratio < worst.ratio) Object.assign(worst, { ratio, text: element.textContent.slice(0, 40) });
              }
              return worst;""")
            # WCAG 2.2, 1.4.3.
            self.assertGreaterEqual(worst["ratio"], 4.5, (scheme, worst))
            papers.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
            shot(scheme)
        browser.devtools("Emulation.setEmulatedMedia", features=[])
        self.assertEqual(len(papers), 2)

    def test_it_fits_a_narrow_window(self):
        browser.post("/window/rect", {"width": 500, "height": 900})
        self.segmented()
        wide, room = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        self.assertLessEqual(wide, room)
        shot("narrow")

    def test_no_request_leaves_the_server(self):
        self.segmented()
        self.saved("#save-mask", f"{PICTURE.stem}.mask.png")
        entries = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        sent = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
        sent = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
        self.assertTrue(any(url == f"{server.url}/invocations" for url in entries), entries)
        self.assertIn(f"{server.url}/", sent)
        for url in entries + sent:
            self.assertTrue(url.startswith((server.url + "/", "blob:" + server.url + "/", "data:image/svg+xml,")), url)
        # Neither did the policy have to hold anything back, nor did anything else go wrong.
        self.assertEqual([entry["message"] for entry in browser.log("browser") if entry["level"] == "SEVERE"], [])

    def test_the_policy_holds_other_scripts_back(self):
        done = browser.run("""
          const script = document.createElement("script");
          script.textContent = "window.intruder = 1";
          document.body.append(script);
          return fetch("http://127.0.0.1:9/").then(() => "went out", () => window.intruder ?? "held back");""")
        self.assertEqual(done, "held back")

    def test_a_server_that_is_gone_is_told(self):
        own = Server(WORK / "single").wait()
        browser.open(own.url + "/")
        own.stop()
        self.choose(PICTURE)
        self.assertEqual(browser.text("#problem-name"), "NoAnswer")
        self.assertFalse(browser.is_shown("#result"))


class MultiModelPage(OnThePage):
    """With SAGEMAKER_MULTI_MODEL=true."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(WORK / "multi", SAGEMAKER_MULTI_MODEL="true").wait()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    url = property(lambda self: self.server.url)

    def test_it_asks_which_model(self):
        self.choose(PICTURE)
        self.assertIn("no model is loaded", browser.text("#problem-words"))
        for name in ("first", "second one/ä"):
            folder = copied(MODEL, WORK / "multi" / "models" / f"{len(name)}" / "model")
            body = json.dumps({"model_name": name, "url": folder}).encode()
            status, _, answer = self.server.ask("/models", body, Content_Type="application/json")
            self.assertEqual(status // 100, 2, answer)
        browser.open(self.url + "/")
        browser.run(SPY)
        browser.run("const server = document.getElementById('server'); return new Promise((done) => {"
                    "const look = () => /loaded/.test(server.textContent) ? done() : requestAnimationFrame(look); look(); })")
        names = browser.run("return Array.from(document.getElementById('model').options, (option) => option.value)")
        self.assertEqual(sorted(names), ["first", "second one/ä"])
        browser.run("document.getElementById('model').value = 'second one/ä'")
        self.segmented()
        self.assertTrue(browser.run("return window.seen.at(-1).address").endswith("/models/second%20one%2F%C3%A4/invoke"))
        shot("models")


class Tally(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


if __name__ == "__main__":
    program = unittest.main(verbosity=2, exit=False, testRunner=unittest.TextTestRunner(resultclass=Tally, stream=sys.stdout, verbosity=2))
    result = program.result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"passed: {result.passed}\nfailed: {failed}\nskipped: {len(result.skipped)}")
    sys.exit(failed > 0)
