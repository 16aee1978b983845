#!/usr/bin/env python3
"""Golden numbers of Seg-Grad-CAM from PyTorch and torchvision: writes grad_cam.json beside itself.

    pip install torch torchvision numpy
    python3 tests/golden/make_grad_cam.py

Weights and picture are those of make_golden.py, whose docstring states their formulas. For each network, the class that
most pixels are predicted as: its number of pixels, and of the importance [H, W] (0 to 1) the sum and the values of flat
index (k * 7919) mod (H * W), k = 0 .. 99.
"""

import json

import torch

from make_golden import HERE, SAMPLE_STRIDE, digits, networks, picture, weight

HEIGHT, WIDTH = 97, 131


def seg_grad_cam(model, image):
    features = model.backbone(image)["out"].detach().requires_grad_()
    logits = torch.nn.functional.interpolate(model.classifier(features), size=image.shape[-2:], mode="bilinear", align_corners=False)
    predicted = logits.argmax(1)
    class_id = int(torch.bincount(predicted.flatten()).argmax())
    logits[:, class_id][predicted == class_id].sum().backward()
    weights = features.grad.mean(dim=(2, 3), keepdim=True)
    cam = torch.relu((weights * features.detach()).sum(1, keepdim=True))
    cam = torch.nn.functional.interpolate(cam / cam.max(), size=image.shape[-2:], mode="bilinear", align_corners=False)
    return class_id, int((predicted == class_id).sum()), cam.flatten()


def main():
    torch.set_num_threads(2)
    cases = []
    for algorithm in ("fcn", "deeplab", "psp"):
        for name, model in networks(algorithm):
            if name not in ("resnet-18", "resnet-50"):
                continue
            model.load_state_dict({key: weight(key, tuple(value.shape)) for key, value in model.state_dict().items()})
            class_id, pixels, cam = seg_grad_cam(model.eval(), picture(HEIGHT, WIDTH))
            index = (torch.arange(100) * SAMPLE_STRIDE) % cam.numel()
            cases.append({"algorithm": algorithm, "backbone": name, "class": class_id, "pixels": pixels,
                          "sum": float(cam.double().sum()), "samples": digits(cam[index].numpy())})
            print(algorithm, name, class_id, pixels, float(cam.sum()))
    golden = {"height": HEIGHT, "width": WIDTH, "made_with": {"torch": torch.__version__.split("+")[0]}, "cases": cases}
    (HERE / "grad_cam.json").write_text(json.dumps(golden) + "\n")


main()
