"""The model behind TorchServe. SERVE_MODEL names the folder."""

import os

import torch
from segment import Stages, decode, encode, load, predict


class Handler:
    def initialize(self, context):
        self.model = load(os.environ["SERVE_MODEL"])
        self.initialized = True

    def handle(self, data, context):
        stages = Stages()
        images = [decode(row.get("body") or row.get("data")) for row in data]
        stages.end("decode")
        if all(image.shape == images[0].shape for image in images):
            ids = predict(self.model, torch.stack(images))
        else:
            ids = [predict(self.model, image[None])[0] for image in images]
        stages.end("model")
        masks = [encode(its) for its in ids]
        stages.end("encode")
        for index in range(len(data)):
            context.set_response_content_type(index, "image/png")
            context.set_response_header(index, "Server-Timing", str(stages))
        return masks
