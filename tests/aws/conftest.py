"""The fixtures give tests a stub that runs, is empty, and made no mistake of its own, and Amazon's clients for it."""

import http.server
import threading

import pytest

from stub_client import Objects, Stub


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    s3 = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Objects)
    threading.Thread(target=s3.serve_forever, daemon=True).start()
    stub = Stub(tmp_path_factory.mktemp("stub"), f"http://127.0.0.1:{s3.server_port}")
    yield stub
    stub.process.terminate()
    assert stub.process.wait(10) == 0
    s3.shutdown()


@pytest.fixture
def stub(running):
    running.ask("/_reset", {})
    yield running
    errors = [entry["stub_error"] for entry in running.ask("/_log") if "stub_error" in entry]
    assert errors == []


@pytest.fixture
def sagemaker(stub):
    return stub.client("sagemaker")


@pytest.fixture
def logs(stub):
    return stub.client("logs")
