"""A client of the W3C WebDriver protocol (https://www.w3.org/TR/webdriver2/) in the standard library: what the page's test needs."""

import base64
import json
import re
import subprocess
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # The protocol's own key for an element's reference.
# A proxy in the environment is not for servers on this machine.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class WebDriverError(Exception):
    pass


class Browser:
    """One Chromium, without a window and without a profile, that talks to nobody of its own accord."""

    def __init__(self, folder, chromedriver, chromium):
        self.driver = subprocess.Popen([chromedriver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.session = None
        try:
            port = next(found[1] for line in self.driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
            self.address = f"http://127.0.0.1:{port}"
            flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                     f"--user-data-dir={folder}/profile", "--window-size=1280,960", "--force-color-profile=srgb"]
            options = {"binary": chromium, "args": flags, "prefs": {"download.default_directory": f"{folder}/downloads"}}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options,
                      "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
            answer = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self.session = answer["sessionId"]
            self.post("/timeouts", {"script": 60_000, "pageLoad": 30_000, "implicit": 0})
        except BaseException:
            self.close()
            raise

    def close(self):
        try:
            if self.session:
                self.ask("DELETE", f"/session/{self.session}")
        finally:
            self.driver.terminate()
            self.driver.wait(20)
            self.driver.stdout.close()

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with opener.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise WebDriverError(f"{method} {path}: {value['error']}: {value['message']}") from None

    def get(self, path):
        return self.ask("GET", f"/session/{self.session}{path}")

    def post(self, path, body):
        return self.ask("POST", f"/session/{self.session}{path}", body)

    def open(self, url):
        self.post("/url", {"url": url})

    def run(self, script, *arguments):
        """The value of a function body; a promise is waited for."""
        return self.post("/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        return self.post("/element", {"using": "css selector", "value": selector})[ELEMENT]

    def find_all(self, selector):
        return [found[ELEMENT] for found in self.post("/elements", {"using": "css selector", "value": selector})]

    def text(self, selector):
        return self.get(f"/element/{self.find(selector)}/text")

    def is_shown(self, selector):
        return self.get(f"/element/{self.find(selector)}/displayed")

    def click(self, selector):
        self.post(f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        """Into a file input, the path of a file."""
        self.post(f"/element/{self.find(selector)}/value", {"text": text})

    def role_and_label(self, element):
        """As assistive technology is told."""
        return self.get(f"/element/{element}/computedrole"), self.get(f"/element/{element}/computedlabel")

    def keys(self, *keys):
        """Presses keys one after the other; a tuple is a chord."""
        actions = []
        for chord in keys:
            chord = chord if isinstance(chord, tuple) else (chord,)
            actions += [{"type": "keyDown", "value": key} for key in chord]
            actions += [{"type": "keyUp", "value": key} for key in reversed(chord)]
        self.post("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def point(self, x, y):
        """Moves the mouse to these coordinates of the window."""
        move = {"type": "pointerMove", "origin": "viewport", "x": round(x), "y": round(y), "duration": 0}
        self.post("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def screenshot(self):
        return base64.b64decode(self.get("/screenshot"))

    # Beyond the standard, as chromedriver has it.

    def log(self, kind):
        return self.post("/se/log", {"type": kind})

    def devtools(self, command, **parameters):
        return self.post("/goog/cdp/execute", {"cmd": command, "params": parameters})


TAB, ENTER, SPACE, SHIFT = "\ue004", "\ue007", " ", "\ue008"
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"
