"""`maskmaker fetch` from a real Label Studio: what it brings, what it shows to nobody, and how it goes on after a kill."""

import json
import random
import signal
import time

import numpy as np
import pytest
from PIL import Image

from pictures import LABEL_CONFIG, LABELS, Picture
from program import Fetch, maskmaker

IMAGES = 13
# A transfer of a picture takes two thirds of a second at this rate, and two go on at a time: about five seconds in all.
SLOW_BYTES_PER_SECOND = 150_000
TWO_AT_A_TIME = ("--parallel-files", "2")
DONE = 0
USAGE = 2
NOT_FETCHED = 3


def assert_done(run, fetched, kept, missing=0):
    """Asserts that a fetch ended well, and what it says about numbers."""
    assert run.code == DONE, run
    files = "1 file" if fetched == 1 else f"{fetched} files"
    assert run.stdout.startswith(f"{files} fetched ("), run
    assert f"), {kept} there already, {missing} missing: " in run.stdout, run


def assert_error(run, *words):
    """Asserts that a fetch failed with the documented exit code, and that its message has these words."""
    assert run.code == NOT_FETCHED, run
    assert "error: " in run.stderr, run
    for expected in words:
        assert expected in run.stderr, run


def assert_whole(fetch, project, tasks):
    """Asserts that the folder has the images of these tasks, each as it is in its storage, and nothing else."""
    assert fetch.images() == {project.references[task]: project.pictures[task].data for task in tasks}
    others = [f"annotations/project-{project.id}.json", "label_config/label_config.xml", ".maskmaker-fetch/fetched.jsonl"]
    files = {str(path.relative_to(fetch.output)) for path in fetch.files()}
    assert files == {line["file"] for line in fetch.ledger()} | set(others)


def assert_hidden(secrets, fetch, *runs):
    """Asserts that neither what the program printed nor what it wrote has a secret."""
    for secret in secrets:
        for run in runs:
            assert secret not in run.stdout + run.stderr, run
        for path in fetch.files():
            assert secret not in str(path)
            assert secret.encode() not in path.read_bytes(), path


def wait_for(is_so, process, what):
    """Waits until something is so while a process is at work."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert process.poll() is None, f"the fetch ended before {what}: {process.communicate()}"
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.005)


@pytest.fixture
def slow(proxy, s3_proxy):
    """A slow network, in which a fetch can be met in the middle; returns the function that mends it."""

    def set_rate(bytes_per_second):
        proxy.bytes_per_second = s3_proxy.bytes_per_second = bytes_per_second

    set_rate(SLOW_BYTES_PER_SECOND)
    return lambda: set_rate(None)


# What is fetched


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_images_and_annotations_come_with_both_kinds_of_tokens(kind, fetch, project, label_studio, image_requests):
    fetch.token = {"legacy": label_studio.legacy_token, "personal": label_studio.personal_token}[kind]
    assert len(project.wanted) == IMAGES
    assert_done(fetch.run(), fetched=IMAGES, kept=0)
    assert set(image_requests().values()) == {1}
    assert_whole(fetch, project, project.wanted)
    assert (fetch.output / "label_config/label_config.xml").read_text() == LABEL_CONFIG

    tasks = fetch.tasks()
    assert tasks.keys() == project.wanted
    for number, task in tasks.items():
        (annotation,) = task["annotations"]
        assert task["data"]["image"] == project.references[number]
        assert annotation["was_cancelled"] == (number in project.skipped)
        assert annotation["result"] == ([] if number in project.skipped else project.pictures[number].regions())


def test_images_without_annotations_come_if_they_are_wanted(fetch, project, image_requests):
    assert_done(fetch.run(), fetched=IMAGES, kept=0)
    image_requests()
    assert_done(fetch.run("--all-tasks"), fetched=len(project.not_annotated), kept=IMAGES)
    assert_whole(fetch, project, project.pictures)
    assert fetch.tasks().keys() == project.pictures.keys()
    # Two uploads or local files, and one object that is asked for at Label Studio and at S3.
    assert len(image_requests()) == 4


def test_new_annotations_come_with_the_next_fetch(tmp_path, proxy, label_studio, image_requests):
    pictures = [Picture(seed, f"house-{seed}.png") for seed in (1, 2)]
    project = label_studio.create_project("Houses", LABEL_CONFIG)
    label_studio.import_files(project, {picture.name: picture.data for picture in pictures})
    first, second = (task["id"] for task in label_studio.list_tasks(project))
    fetch = Fetch(tmp_path, proxy.url, project, label_studio.legacy_token)
    nothing = fetch.run()
    assert_error(nothing, 'has no task with an annotation; annotate some, or give --all-tasks')

    label_studio.annotate(first, pictures[0].regions())
    assert_done(fetch.run(), fetched=1, kept=0)
    image_requests()
    label_studio.annotate(first, [])
    label_studio.annotate(second, pictures[1].regions())
    assert_done(fetch.run(), fetched=1, kept=1)
    assert sum(image_requests().values()) == 1
    tasks = fetch.tasks()
    assert sorted(len(annotation["result"]) for annotation in tasks[first]["annotations"]) == [0, 3]
    assert [len(annotation["result"]) for annotation in tasks[second]["annotations"]] == [3]


def test_objects_at_private_addresses_are_missing_without_leave(fetch, project, image_requests):
    fetch.arguments.remove("--allow-private-addresses")
    objects = {task for task in project.wanted if project.references[task].startswith("s3://")}
    run = fetch.run()
    assert_done(run, fetched=IMAGES - len(objects), kept=0, missing=len(objects))
    assert run.stderr.count("127.0.0.1 is a private address, and only public addresses may be asked") == len(objects)
    assert not any(address.startswith("s3:") for address in image_requests())
    assert_whole(fetch, project, project.wanted - objects)
    assert_error(fetch.run("--strict"), f"{len(objects)} files missing, and --strict is given")


def test_tasks_of_many_pages_come_once_each(tmp_path, proxy, label_studio, image_requests):
    """More tasks than one page of the list (500) and one request for annotations (100) have."""
    picture = Picture(3, "crossing.png")
    project = label_studio.create_project("Crossing", LABEL_CONFIG)
    label_studio.import_files(project, {picture.name: picture.data})
    (uploaded,) = label_studio.list_tasks(project)
    annotations = [{"result": picture.regions()[:1]}]
    label_studio.import_tasks(project, [{"data": uploaded["data"], "annotations": annotations} for _ in range(604)])
    fetch = Fetch(tmp_path, proxy.url, project, label_studio.legacy_token)
    run = fetch.run()
    assert_done(run, fetched=1, kept=0)
    assert f"project {project}: 604 tasks" in run.stderr
    assert fetch.tasks().keys() == {task["id"] for task in label_studio.list_tasks(project)} - {uploaded["id"]}
    assert list(image_requests().values()) == [1]


# What becomes of it


def preprocess(fetch, folder, *more):
    """Makes masks of what was fetched, and returns the run."""
    return maskmaker(
        "preprocess", "--annotations", fetch.output / "annotations", "--images", fetch.output / "images",
        "--label-config", fetch.output / "label_config/label_config.xml", "--output", folder, "--strict", *more, home=folder,
    )


def read_masks(folder):
    """Returns pairs of an image's bytes and its mask, of both channels. Images of one name lie in folders of their own."""
    pairs = []
    for channel in ("train", "validation"):
        for image in (folder / channel).rglob("*.png"):
            mask = Image.open(folder / f"{channel}_annotation" / image.relative_to(folder / channel))
            pairs.append((image.read_bytes(), np.asarray(mask)))
    return pairs


def assert_masks(folder, pictures):
    """Asserts that the channels have these pictures, each once, with the masks that were drawn."""
    labels = json.loads((folder / "label_map/labels.json").read_text())
    assert [labels[str(number)]["name"] for number in range(1, 4)] == LABELS
    expected = {picture.data: picture.ids for picture in pictures}
    masks = read_masks(folder)
    assert len(masks) == len(expected) and {data for data, _ in masks} == expected.keys()
    for data, mask in masks:
        assert np.array_equal(mask, expected[data])


def test_preprocess_makes_the_masks_that_were_drawn(fetch, project, tmp_path):
    assert_done(fetch.run(), fetched=IMAGES, kept=0)
    run = preprocess(fetch, tmp_path / "channels")
    assert run.code == 0, run
    assert_masks(tmp_path / "channels", [project.pictures[task] for task in project.annotated])


def test_preprocess_tells_pictures_of_one_name_in_two_storages_apart(tmp_path, proxy, label_studio, s3, s3_proxy):
    # Label Studio writes `near%20yards/yard.png` for the one.
    near, far = Picture(4, "yard.png"), Picture(5, "yard.png")
    project = label_studio.create_project("Yards", LABEL_CONFIG)
    folder = label_studio.documents / "near yards"
    folder.mkdir()
    (folder / near.name).write_bytes(near.data)
    label_studio.sync_local_files(project, folder)
    s3.put("far-yards", {f"far/{far.name}": far.data})
    label_studio.sync_s3(project, s3_proxy.url, "far-yards")
    for task in label_studio.list_tasks(project):
        picture = far if task["data"]["image"].startswith("s3://") else near
        label_studio.annotate(task["id"], picture.regions())
    fetch = Fetch(tmp_path, proxy.url, project, label_studio.legacy_token)
    assert_done(fetch.run(), fetched=2, kept=0)
    run = preprocess(fetch, tmp_path / "channels", "--train-test-split-ratio", "50")
    assert run.code == 0, run
    assert_masks(tmp_path / "channels", [near, far])


# Interruptions


def assert_goes_on(fetch, project, before, image_requests):
    """Asserts that the next fetch asks for no image twice that was whole, and the one after it for none at all.

    `before` counts the requests so far. An image that was under way has to be asked for once more.
    """
    whole = len(fetch.ledger())
    assert_done(fetch.run(), fetched=IMAGES - whole, kept=whole)
    after = image_requests()
    assert set(after.values()) <= {1}

    def at_label_studio(requests):
        return {address for address in requests if not address.startswith("s3:")}

    begun, again = at_label_studio(before), at_label_studio(after)
    assert len(again) == IMAGES - whole
    # Of those that were begun, all that were whole are not asked for again.
    assert len(begun & again) == len(begun) - whole
    assert_whole(fetch, project, project.wanted)
    assert fetch.tasks().keys() == project.wanted

    assert_done(fetch.run(), fetched=0, kept=IMAGES)
    assert not image_requests()


@pytest.mark.parametrize("whole", [0, 1, 5, 10])
def test_a_killed_fetch_goes_on_and_fetches_nothing_twice(whole, fetch, project, proxy, s3_proxy, slow, image_requests):
    process = fetch.start(*TWO_AT_A_TIME)

    def images_under_way():
        return [request for request in proxy.under_way() + s3_proxy.under_way() if "/api/" not in request.target]

    wait_for(lambda: len(fetch.ledger()) >= whole and images_under_way(), process, f"{whole} images were there")
    assert fetch.kill(process).code == -signal.SIGKILL
    assert len(fetch.ledger()) < IMAGES
    slow()
    assert_goes_on(fetch, project, image_requests(), image_requests)


def test_a_fetch_killed_at_the_annotations_goes_on(fetch, project, proxy, image_requests):
    # The list of tasks and their annotations take seconds each.
    proxy.bytes_per_second = 20_000
    process = fetch.start()
    wait_for(lambda: any("/export" in request.target for request in proxy.under_way()), process, "annotations came")
    assert fetch.kill(process).code == -signal.SIGKILL
    proxy.bytes_per_second = None
    assert not (fetch.output / f"annotations/project-{project.id}.json").exists()
    assert_goes_on(fetch, project, image_requests(), image_requests)


def test_a_fetch_killed_at_many_random_moments_comes_to_its_end(fetch, project, slow, image_requests):
    rng = random.Random(1)
    kills = 0
    before = image_requests()
    for _ in range(8):
        process = fetch.start(*TWO_AT_A_TIME)
        time.sleep(rng.uniform(0.05, 2))
        kills += fetch.kill(process).code == -signal.SIGKILL
        before += image_requests()
    assert kills >= 3
    # Each kill meets at most the files that are under way, two here.
    assert all(count <= 1 + kills for count in before.values())
    assert sum(count - 1 for address, count in before.items() if not address.startswith("s3:")) <= 2 * kills
    slow()
    assert_goes_on(fetch, project, before, image_requests)


def test_a_fetch_that_is_asked_to_stop_says_how_to_go_on(fetch, project, slow, image_requests):
    process = fetch.start(*TWO_AT_A_TIME)
    wait_for(lambda: len(fetch.ledger()) >= 2, process, "two images were there")
    process.terminate()
    assert_error(fetch.end(process), "the fetch was stopped; the same command goes on")
    slow()
    assert_goes_on(fetch, project, image_requests(), image_requests)


def test_label_studio_gone_in_the_middle_is_an_error_and_a_later_fetch_goes_on(fetch, project, proxy, slow, image_requests):
    process = fetch.start(*TWO_AT_A_TIME)
    wait_for(lambda: len(fetch.ledger()) >= 3, process, "three images were there")
    proxy.go_away()
    run = fetch.end(process)
    assert_error(run, f"check that Label Studio runs at {proxy.url}")
    assert_hidden([fetch.token], fetch, run)
    assert 3 <= len(fetch.ledger()) < IMAGES
    before = image_requests()
    slow()
    proxy.come_back()
    # The program tried several times, of which the proxy saw only the first.
    assert_goes_on(fetch, project, before, image_requests)


def test_a_short_absence_of_label_studio_is_waited_out(fetch, project, proxy, slow):
    process = fetch.start(*TWO_AT_A_TIME)
    wait_for(lambda: len(fetch.ledger()) >= 3, process, "three images were there")
    proxy.go_away()
    time.sleep(1.5)
    proxy.come_back()
    slow()
    assert_done(fetch.end(process), fetched=IMAGES, kept=0)
    assert_whole(fetch, project, project.wanted)


# Tokens and errors


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_tokens_are_shown_nowhere_and_go_to_label_studio_alone(kind, fetch, label_studio, proxy, s3_proxy):
    fetch.token = {"legacy": label_studio.legacy_token, "personal": label_studio.personal_token}[kind]
    run = fetch.run()
    assert_done(run, fetched=IMAGES, kept=0)
    used = {request.headers["authorization"] for request in proxy.requests if "authorization" in request.headers}
    assert all(value.startswith("Bearer " if kind == "personal" else "Token ") for value in used) and used
    secrets = {fetch.token, *(value.split()[1] for value in used)}
    # A personal token is only exchanged; what goes with the requests is another one.
    assert len(secrets) == (2 if kind == "personal" else 1)
    assert_hidden(secrets, fetch, run)
    assert not any(secret in request.target for secret in secrets for request in proxy.requests)

    at_s3 = [request for request in s3_proxy.requests if request.headers["user-agent"].startswith("maskmaker/")]
    assert len(at_s3) == 4
    for request in at_s3:
        assert "authorization" not in request.headers and "cookie" not in request.headers
        assert not any(secret in f"{request.target} {request.headers}" for secret in secrets)


def test_an_access_token_that_ends_in_the_middle_is_renewed(fetch, project, label_studio, proxy, slow):
    fetch.token = label_studio.personal_token
    process = fetch.start(*TWO_AT_A_TIME)
    wait_for(lambda: len(fetch.ledger()) >= 3, process, "three images were there")
    first = next(request.headers["authorization"] for request in proxy.requests if "authorization" in request.headers)
    proxy.spoil(first)
    slow()
    run = fetch.end(process)
    assert_done(run, fetched=IMAGES, kept=0)
    assert_whole(fetch, project, project.wanted)
    assert 401 in {request.status for request in proxy.requests}
    renewals = [request for request in proxy.requests if request.path == "/api/token/refresh/"]
    assert len(renewals) == 2
    used = {request.headers["authorization"] for request in proxy.requests if "authorization" in request.headers}
    assert len(used) == 2
    assert_hidden({fetch.token, *(value.split()[1] for value in used)}, fetch, run)


def test_a_legacy_token_of_nobody_is_an_error_that_says_what_to_give(fetch):
    fetch.token = "0123456789abcdef" * 2 + "01234567"
    run = fetch.run()
    assert_error(run, "401", "the legacy token is not the user's", "give a personal access token")
    assert_hidden([fetch.token], fetch, run)


def test_legacy_tokens_that_are_turned_off_are_an_error_that_says_what_to_give(fetch, label_studio):
    label_studio.allow_legacy_tokens(False)
    try:
        run = fetch.run()
    finally:
        label_studio.allow_legacy_tokens(True)
    assert_error(run, "legacy tokens are off", "give a personal access token")
    assert_hidden([fetch.token], fetch, run)


def test_a_revoked_personal_token_is_an_error_that_says_what_to_do(fetch, label_studio):
    fetch.token = label_studio.personal_token
    label_studio.revoke_personal_token(fetch.token)
    try:
        run = fetch.run()
    finally:
        label_studio.personal_token = label_studio.create_personal_token()
    assert_error(run, "the personal access token has ended or was revoked", "make another", "Account & Settings")
    assert_hidden([fetch.token], fetch, run)


def test_a_project_that_is_not_there_is_an_error_that_names_the_flag(fetch):
    fetch.arguments[fetch.arguments.index("--project") + 1] = 4711
    assert_error(fetch.run(), "4711", "--project")


def test_another_server_at_the_address_is_an_error_that_says_so(fetch, s3_proxy):
    fetch.arguments[fetch.arguments.index("--label-studio") + 1] = s3_proxy.url
    assert_error(fetch.run(), s3_proxy.url, "check")


def test_a_project_without_label_studio_is_a_fault_of_usage(tmp_path):
    run = maskmaker("fetch", "--project", "1", "--output", tmp_path / "fetched", home=tmp_path)
    assert run.code == USAGE, run
    assert "--label-studio" in run.stderr, run
