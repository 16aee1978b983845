"""The program under test: runs of maskmaker, and the folder of a fetch."""

import json
import os
import subprocess
import time
from pathlib import Path

from server import own_environment

PROGRAM = Path(os.environ["MASKMAKER_BIN"]).resolve()
TIMEOUT_SECONDS = 180


class Run:
    """A run of the program that has ended."""

    def __init__(self, code, stdout, stderr):
        self.code = code
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self):
        return f"exit code {self.code}\n{self.stdout}\n{self.stderr}"


def maskmaker(*arguments, home, **variables):
    """Runs the program to its end."""
    environment = own_environment(home, **variables)
    run = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=TIMEOUT_SECONDS)
    return Run(run.returncode, run.stdout, run.stderr)


class Fetch:
    """The command `maskmaker fetch` for one project, and the folder that it fills."""

    def __init__(self, folder, label_studio, project, token):
        self.home = folder
        self.output = folder / "fetched"
        self.token = token
        self._started = []
        self.arguments = [
            "fetch", "--label-studio", label_studio, "--project", project, "--output", self.output,
            # Moto's S3 is on loopback.
            "--allow-private-addresses",
        ]

    def run(self, *more):
        """Runs the command to its end."""
        return maskmaker(*self.arguments, *more, home=self.home, LABEL_STUDIO_API_KEY=self.token)

    def start(self, *more):
        """Starts the command in order to kill it, or something else, in the middle."""
        process = subprocess.Popen(
            [PROGRAM, *map(str, self.arguments), *map(str, more)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=own_environment(self.home, LABEL_STUDIO_API_KEY=self.token),
        )
        self._started.append(process)
        return process

    def end(self, process):
        """Waits for the end of a command that was started."""
        stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
        return Run(process.returncode, stdout, stderr)

    def kill(self, process):
        """Kills a command, and waits until the proxies have read what it sent last."""
        process.kill()
        run = self.end(process)
        time.sleep(0.3)
        return run

    def close(self):
        """Ends what a test started and did not wait for, because it failed."""
        for process in self._started:
            process.kill()
            process.communicate()

    def ledger(self):
        """Returns the lines about the files that were fetched whole."""
        path = self.output / ".maskmaker-fetch/fetched.jsonl"
        if not path.exists():
            return []
        # A program that is at work may have written a part of the last line.
        return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]

    def files(self):
        """Returns the paths of all files below the output folder."""
        return sorted(path for path in self.output.rglob("*") if path.is_file())

    def images(self):
        """Returns the fetched images by the references that tasks have."""
        return {line["source"]: (self.output / line["file"]).read_bytes() for line in self.ledger()}

    def tasks(self):
        """Returns the fetched tasks with their annotations, by id."""
        (path,) = (self.output / "annotations").iterdir()
        tasks = json.loads(path.read_text())
        by_id = {task["id"]: task for task in tasks}
        assert len(by_id) == len(tasks)
        return by_id
