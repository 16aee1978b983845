"""Servers that tests start on loopback: the real Label Studio, and moto's S3."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import requests
from botocore.config import Config

SCRIPTS = Path(sys.executable).parent
START_SECONDS = 300
STOP_SECONDS = 20
# Label Studio takes no address whose domain has no dot.
USER = "admin@example.com"
S3_KEY = "testing"


def find_free_port():
    """Returns a port that nobody listens on, for a server that cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def own_environment(home, **variables):
    """Returns the environment of a server: without this machine's settings, which must decide nothing here."""
    foreign = ("LABEL_STUDIO_", "AWS_", "DJANGO_", "MASKMAKER_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        inherited.pop(name, None)
        inherited.pop(name.upper(), None)
    return {**inherited, "HOME": str(home), **variables}


class ServerProcess:
    """A server and its children, which share a session of their own so that all of them end together."""

    def __init__(self, command, log, environment):
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
            )

    def wait_until(self, is_ready):
        """Waits until `is_ready` returns something true, and returns that; a server that does not start says why."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := is_ready():
                return found
            time.sleep(0.5)
        end = self.log.read_text(errors="replace")[-4000:]
        raise RuntimeError(f"{self.process.args[0]} did not start:\n{end}")

    def stop(self):
        """Ends the server and its children, also those that it left behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()


class LabelStudioServer:
    """A Label Studio with one user, and what tests do there as that user.

    Requests go with the session of a browser, so that tests may turn tokens off and revoke them.
    """

    def __init__(self, folder):
        self.documents = folder / "documents"
        self.documents.mkdir(parents=True)
        self.legacy_token = secrets.token_hex(20)
        password = secrets.token_hex(16)
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            SCRIPTS / "label-studio", "start", "--no-browser", "--enable-legacy-api-token", "--port", port,
            "--internal-host", "127.0.0.1", "--username", USER, "--password", password, "--user-token", self.legacy_token,
        ]
        environment = own_environment(
            folder,
            LABEL_STUDIO_BASE_DATA_DIR=str(folder / "data"),
            LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED="true",
            LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=str(self.documents),
            # Storages, backends and images of these tests are on loopback.
            SSRF_PROTECTION_ENABLED="false",
            ML_BLOCK_LOCAL_IP="false",
            LATEST_VERSION_CHECK="false",
            COLLECT_ANALYTICS="false",
            SENTRY_DSN="",
            FRONTEND_SENTRY_DSN="",
        )
        self._session = requests.Session()
        self._session.trust_env = False
        self._process = ServerProcess(command, folder / "label-studio.log", environment)
        try:
            self._process.wait_until(self._is_healthy)
            self._sign_in(password)
            self.personal_token = self.create_personal_token()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends the server."""
        self._session.close()
        self._process.stop()

    def _is_healthy(self):
        try:
            return self._session.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def _sign_in(self, password):
        page = self._session.get(f"{self.url}/user/login/", timeout=60)
        field = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
        form = {"csrfmiddlewaretoken": field, "email": USER, "password": password}
        answer = self._session.post(f"{self.url}/user/login/", form, headers={"Referer": self.url}, timeout=60)
        answer.raise_for_status()
        if "sessionid" not in self._session.cookies:
            raise RuntimeError("Label Studio did not let the user in")

    def ask(self, method, path, **arguments):
        """Sends a request as the user's browser does, and returns what the answer's JSON holds."""
        # Django takes no change without this token of the session.
        headers = {"X-CSRFToken": self._session.cookies.get("csrftoken"), "Referer": self.url}
        answer = self._session.request(method, self.url + path, headers=headers, timeout=120, **arguments)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: Label Studio answers {answer.status_code}: {answer.text[:2000]}")
        return answer.json() if answer.content else None

    # Tokens

    def create_personal_token(self):
        """Creates the user's personal access token. Label Studio gives each user one at a time."""
        return self.ask("POST", "/api/token/", json={})["token"]

    def revoke_personal_token(self, token):
        """Revokes a personal access token, after which it gives no access tokens any more."""
        self.ask("POST", "/api/token/blacklist/", json={"refresh": token})

    def allow_legacy_tokens(self, is_allowed):
        """Sets whether the organization takes legacy tokens, as its administrator does on its page."""
        self.ask("POST", "/api/jwt/settings", json={"api_tokens_enabled": True, "legacy_api_tokens_enabled": is_allowed})

    # Projects, tasks and annotations

    def create_project(self, title, label_config):
        """Creates a project, whose title must have three characters or more, and returns its id."""
        return self.ask("POST", "/api/projects/", json={"title": title, "label_config": label_config})["id"]

    def import_files(self, project, files):
        """Uploads files, of which `files` holds the bytes by name. Each becomes a task."""
        return self.ask("POST", f"/api/projects/{project}/import", files=[(name, (name, data)) for name, data in files.items()])

    def import_tasks(self, project, tasks):
        """Imports tasks as the JSON of an import has them, which may hold annotations and predictions."""
        return self.ask("POST", f"/api/projects/{project}/import", json=tasks)

    def sync_local_files(self, project, folder):
        """Connects a folder below `documents`, and makes a task of each of its files."""
        storage = {"project": project, "path": str(folder), "use_blob_urls": True}
        self._sync("localfiles", storage)

    def sync_s3(self, project, s3_url, bucket, prefix=""):
        """Connects a bucket, and makes a task of each of its objects."""
        storage = {
            "project": project, "bucket": bucket, "prefix": prefix, "use_blob_urls": True, "recursive_scan": True,
            "s3_endpoint": s3_url, "region_name": "us-east-1",
            "aws_access_key_id": S3_KEY, "aws_secret_access_key": S3_KEY,
        }
        self._sync("s3", storage)

    def _sync(self, kind, storage):
        created = self.ask("POST", f"/api/storages/{kind}", json=storage)
        synced = self.ask("POST", f"/api/storages/{kind}/{created['id']}/sync")
        if synced["status"] != "completed":
            raise RuntimeError(f"the storage was not synchronized: {synced}")

    def list_tasks(self, project):
        """Returns the tasks of a project in the order of their ids, with references to images as they were made."""
        query = {"project": project, "page_size": 10000, "resolve_uri": "false", "fields": "all"}
        return sorted(self.ask("GET", "/api/tasks/", params=query)["tasks"], key=lambda task: task["id"])

    def annotate(self, task, result, was_cancelled=False):
        """Submits an annotation of a task, or skips the task, and returns the annotation."""
        annotation = {"result": result, "was_cancelled": was_cancelled}
        return self.ask("POST", f"/api/tasks/{task}/annotations/", json=annotation)

    # Backends and predictions

    def connect_backend(self, project, url, **settings):
        """Connects an ML backend, which Label Studio asks for its health at once."""
        return self.ask("POST", "/api/ml", json={"project": project, "url": url, "title": "backend", **settings})

    def retrieve_predictions(self, project):
        """Lets Label Studio ask the backend about all tasks, as the action of its data manager does."""
        query = {"id": "retrieve_tasks_predictions", "project": project}
        return self.ask("POST", "/api/dm/actions", params=query, json={"selectedItems": {"all": True, "excluded": []}})

    def list_predictions(self, project):
        """Returns the predictions of all tasks of a project."""
        return self.ask("GET", "/api/predictions/", params={"project": project})

    def next_task(self, project):
        """Returns the task that Label Studio would show the user next."""
        return self.ask("GET", f"/api/projects/{project}/next")


class S3Server:
    """Moto's server, which plays S3 and takes every key."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        command = [SCRIPTS / "moto_server", "-H", "127.0.0.1", "-p", "0"]
        self._process = ServerProcess(command, folder / "moto.log", own_environment(folder))
        try:
            self.url = self._process.wait_until(self._find_url)
        except BaseException:
            self.stop()
            raise
        self._client = boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=S3_KEY, aws_secret_access_key=S3_KEY,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def _find_url(self):
        found = re.search(r"http://127\.0\.0\.1:\d+", self._process.log.read_text(errors="replace"))
        return found and found[0]

    def put(self, bucket, objects):
        """Makes a bucket with objects, of which `objects` holds the bytes by key."""
        self._client.create_bucket(Bucket=bucket)
        for key, data in objects.items():
            self._client.put_object(Bucket=bucket, Key=key, Body=data)

    def stop(self):
        """Ends the server."""
        self._process.stop()
