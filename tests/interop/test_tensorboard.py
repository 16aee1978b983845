"""What TensorBoard's own reader finds in the event files of a job."""
import json
import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData


@pytest.fixture(scope="module")
def board(job):
    everything = {"scalars": 0, "images": 0, "tensors": 0}
    return EventAccumulator(str(job / "output/tensorboard"), size_guidance=everything).Reload()


def test_every_step_has_its_loss_and_learning_rate(board, job):
    epoch = json.loads((job / "model/metrics.json").read_text())["epochs"][0]
    losses = board.Scalars("train/loss")
    assert [event.step for event in losses] == [0, 1]
    mean = sum(event.value for event in losses) / len(losses)
    assert math.isclose(mean, epoch["train_loss"], rel_tol=1e-5)
    rates = [event.value for event in board.Scalars("train/learning_rate")]
    assert rates[0] > rates[1] > 0 and math.isclose(rates[1], epoch["learning_rate"], rel_tol=1e-5)


def test_scores_are_those_of_metrics_json(board, job):
    metrics = json.loads((job / "model/metrics.json").read_text())
    (score,) = board.Scalars("validation/mIOU")
    assert score.step == 1  # of the last step
    assert math.isclose(score.value, metrics["mIOU"], rel_tol=1e-5)
    for a_class in metrics["classes"]:
        for name in ("iou", "precision", "recall", "f1"):
            if a_class[name] is not None:
                (score,) = board.Scalars(f"{name}/{a_class['name']}")
                assert math.isclose(score.value, a_class[name], rel_tol=1e-5, abs_tol=1e-7)
    for tag in ("train/images_per_second", "validation/images_per_second"):
        assert board.Scalars(tag)[0].value > 0
    assert 0 <= board.Scalars("train/waiting_for_data")[0].value <= 1


def test_pictures_are_pngs_of_their_size(board):
    assert set(board.Tags()["images"]) == {"confusion_matrix", "predictions"}
    for tag in board.Tags()["images"]:
        (picture,) = board.Images(tag)
        png = picture.encoded_image_string
        assert png.startswith(b"\x89PNG")
        width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
        assert (picture.width, picture.height) == (width, height) and width > 100


def test_hyperparameters_and_how_it_ended_are_what_the_hparams_tab_reads(board):
    def plugin(tag):
        data = board.summary_metadata[tag].plugin_data
        assert data.plugin_name == "hparams"
        return HParamsPluginData.FromString(data.content)

    given = plugin("_hparams_/session_start_info").session_start_info.hparams
    assert given["backbone"].string_value == "resnet-50"
    assert given["learning_rate"].number_value == 0.001
    assert given["early_stopping"].bool_value is False
    assert plugin("_hparams_/session_end_info").session_end_info.status == 1  # success
