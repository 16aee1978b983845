"""model.onnx: valid, and the program's own logits in ONNX Runtime."""
import json

import onnx
import onnxruntime
import torch
from conftest import relative_difference

# ONNX Runtime folds BatchNorm into the convolutions, and has other ones.
TOLERANCE = 2e-5


def test_the_file_is_valid_and_says_what_it_needs(model):
    path = model.folder / "model.onnx"
    onnx.checker.check_model(path, full_check=True)
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert len(json.loads(metadata["class_names"])) == 5
    assert json.loads(metadata["mean"]) == [0.485, 0.456, 0.406]


def test_logits_are_rusts_at_odd_sizes(model):
    session = onnxruntime.InferenceSession(model.folder / "model.onnx", providers=["CPUExecutionProvider"])
    for size, answer in model.answers.items():
        [got] = session.run(["out"], {"input": answer["input"].numpy()})
        difference = relative_difference(torch.from_numpy(got), answer["out"])
        print(f"{model.name} {size}: largest difference {difference:.1e} of the largest logit")
        assert difference <= TOLERANCE
        [one] = session.run(["out"], {"input": answer["input"][:1].numpy()})
        assert relative_difference(torch.from_numpy(one), answer["out"][:1]) <= TOLERANCE
