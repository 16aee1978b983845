"""The folder that a job leaves: its model card's Python runs as it stands, and exports are the same model."""
import json
import re
import runpy

import numpy
import onnxruntime
import torch
from conftest import maskmaker
from PIL import Image


def predicted(job, folder):
    """An image of the job as image.png in `folder`, and the mask that the program itself gives it."""
    source = next((job / "input/data/validation").glob("*.jpg"))
    Image.open(source).save(folder / "image.png")
    maskmaker("predict", job / "model", folder / "image.png", "--output", folder)
    return numpy.array(Image.open(folder / "image.mask.png"))


def test_the_python_of_the_model_card_runs_and_gives_the_programs_masks(job, tmp_path, monkeypatch):
    expected = predicted(job, tmp_path)
    card = (job / "model/README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2, "TorchScript, and torchvision with safetensors"
    for name in ("model.pt", "model.safetensors"):
        (tmp_path / name).symlink_to(job / "model" / name)
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, block in enumerate(blocks):
        script = tmp_path / f"block_{number}.py"
        script.write_text(block)
        # The second one goes on with the first one's x.
        names = runpy.run_path(str(script), init_globals={key: value for key, value in names.items() if key == "x"})
        mask = names["mask"].numpy()
        assert mask.shape == expected.shape
        agreement = (mask == expected).mean()
        print(f"block {number}: {agreement:.4%} of the pixels are the program's")
        # Near ties may fall either way.
        assert agreement >= 0.999


def test_the_card_has_the_head_that_hubs_read_and_the_scores(job):
    card = (job / "model/README.md").read_text()
    head = card.split("---\n")[1]
    assert "pipeline_tag: image-segmentation" in head and "- resnet-50" in head
    metrics = json.loads((job / "model/metrics.json").read_text())
    assert f"Mean IoU {metrics['mIOU']:.4f}" in card
    for a_class in metrics["classes"]:
        assert re.search(rf"\| {a_class['id']} \| {a_class['name']} \|", card)


def test_labels_color_a_mask(job):
    labels = json.loads((job / "model/labels.json").read_text())
    assert [labels[str(id)]["name"] for id in range(4)] == ["background", "disc", "box", "triangle"]
    palette = numpy.array([labels[str(id)]["color"] for id in range(4)], dtype=numpy.uint8)
    assert palette[numpy.array([[0, 3]])].tolist() == [[[0, 0, 0], [128, 128, 0]]]


def test_exports_are_the_same_model(job, tmp_path):
    exported = tmp_path / "again.pt"
    maskmaker("export", job / "model", "--format", "torchscript", "--output", exported)
    assert exported.read_bytes() == (job / "model/model.pt").read_bytes()
    maskmaker("export", job / "model", "--format", "onnx", "--output", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    x = torch.randn(1, 3, 50, 70)
    [got] = session.run(None, {"input": x.numpy()})
    expected = torch.jit.load(job / "model/model.pt")(x)["out"]
    assert (torch.from_numpy(got) - expected).abs().max() <= 1e-4 * expected.abs().max()
