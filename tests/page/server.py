"""A `maskmaker serve` on a free port of this machine, and requests to it."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from webdriver import opener

BINARY = os.environ["MASKMAKER_BIN"]


class Server:
    def __init__(self, root, **environment):
        root = Path(root)
        (root / "model").parent.mkdir(parents=True, exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MASKMAKER_", "SAGEMAKER_"))}
        self.process = subprocess.Popen([BINARY, "--ml-root", str(root), "serve", "--host", "127.0.0.1", "--port", "0"],
                                        env={**inherited, **environment}, stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = found[0]
                break
        else:
            raise RuntimeError("the server ended before it listened:\n" + "".join(self.log))
        # A full pipe would hold the server up.
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def wait(self):
        """Until the model is there."""
        deadline = time.monotonic() + 60
        while self.ask("/ping")[0] != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server did not become ready:\n" + "".join(self.log))
            time.sleep(0.05)
        return self

    def ask(self, path, body=None, method=None, **headers):
        """Status, headers and body."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def json(self, path, body=None, method=None, **headers):
        status, _, answer = self.ask(path, body, method, **headers)
        if status != 200:
            raise RuntimeError(f"{path}: {status} {answer!r}")
        return json.loads(answer)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.reader.join(5)
            self.process.stderr.close()


def copied(model, to):
    """A model's folder beside others."""
    shutil.copytree(model, to)
    return str(to)
