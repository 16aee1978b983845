"""The fixtures give tests one Label Studio and one S3 for the whole session, recording proxies before both, and a project."""

import re
import signal
from collections import Counter

import pytest

from pictures import LABEL_CONFIG, Picture
from program import Fetch
from proxy import RecordingProxy
from server import LabelStudioServer, S3Server

# Plain, with spaces, beyond ASCII, and with signs that mean something in addresses.
NAMES = ["{}-plain.png", "{} two words.png", "{} größe 树.png", "{} 100%25 a+b.png"]


def pytest_configure():
    """Makes a request to end what the key of interruption is, after which pytest ends the fixtures and so the servers."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory):
    server = LabelStudioServer(tmp_path_factory.mktemp("label-studio"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_session_proxy(s3):
    proxy = RecordingProxy(s3.url)
    yield proxy
    proxy.go_away()


@pytest.fixture
def s3_proxy(s3_session_proxy):
    """The proxy before S3, whose address Label Studio's storages have; its record is empty."""
    s3_session_proxy.take_requests()
    yield s3_session_proxy
    s3_session_proxy.bytes_per_second = None


@pytest.fixture
def proxy(label_studio):
    """A proxy before Label Studio, which knows nothing yet."""
    proxy = RecordingProxy(label_studio.url)
    yield proxy
    proxy.go_away()


def _make_pictures(first):
    """Makes the pictures of a source, with numbers from `first` on by which a test knows them."""
    return [Picture(number, name.format(number)) for number, name in enumerate([*NAMES, "{}-later.png"], first)]


class Project:
    """A project with pictures from three sources: uploads, a folder of the server, and a bucket.

    Of each source four pictures are annotated and one is not; one more upload was skipped by its annotator.
    """

    def __init__(self, label_studio, s3, s3_url):
        self.id = label_studio.create_project("Streets", LABEL_CONFIG)
        uploads, local_files, objects = (_make_pictures(first) for first in (10, 20, 30))
        skipped = Picture(40, "40-skipped.png")

        label_studio.import_files(self.id, {picture.name: picture.data for picture in [*uploads, skipped]})
        folder = label_studio.documents / "some streets"
        folder.mkdir()
        for picture in local_files:
            (folder / picture.name).write_bytes(picture.data)
        label_studio.sync_local_files(self.id, folder)
        s3.put("streets", {f"images/{picture.name}": picture.data for picture in objects})
        label_studio.sync_s3(self.id, s3_url, "streets", "images/")

        pictures = {picture.name[:2]: picture for picture in [*uploads, *local_files, *objects, skipped]}
        # Label Studio changes the names of uploads, but not the number at their beginning.
        number = re.compile(r"(?:/[0-9a-f]{8}-|/)(\d\d)[^/]*$")
        self.references = {}
        self.pictures = {}
        for task in label_studio.list_tasks(self.id):
            reference = task["data"]["image"]
            picture = pictures.pop(number.search(reference)[1])
            self.references[task["id"]] = reference
            self.pictures[task["id"]] = picture
            if picture is skipped:
                label_studio.annotate(task["id"], [], was_cancelled=True)
            elif "later" not in picture.name:
                label_studio.annotate(task["id"], picture.regions())
        assert not pictures
        self.skipped = self.find_tasks("skipped")
        self.not_annotated = self.find_tasks("later")
        # Those whose images `fetch` brings without further flags.
        self.wanted = self.pictures.keys() - self.not_annotated
        self.annotated = self.wanted - self.skipped

    def find_tasks(self, word):
        """Returns the ids of the tasks whose pictures have a word in their names."""
        return {task for task, picture in self.pictures.items() if word in picture.name}


@pytest.fixture(scope="session")
def project(label_studio, s3, s3_session_proxy):
    """The project is shared: tests that change it make one of their own."""
    return Project(label_studio, s3, s3_session_proxy.url)


@pytest.fixture
def fetch(tmp_path, proxy, label_studio, project):
    """The command that fetches the project through the proxy into an empty folder."""
    fetch = Fetch(tmp_path, proxy.url, project.id, label_studio.legacy_token)
    yield fetch
    fetch.close()


@pytest.fixture
def image_requests(proxy, s3_proxy):
    """A function that counts the requests for images since its last call, by address.

    An object of S3 counts twice, and both must be asked for once: at Label Studio, which signs its address, and at S3.
    """

    def count():
        addresses = []
        for request in proxy.take_requests():
            if request.path.startswith(("/data/", "/tasks/")):
                addresses.append(request.target)
        for request in s3_proxy.take_requests():
            # Label Studio asks there, too, and signatures differ from time to time.
            if request.headers["user-agent"].startswith("maskmaker/"):
                addresses.append(f"s3:/{request.path}")
        return Counter(addresses)

    return count
