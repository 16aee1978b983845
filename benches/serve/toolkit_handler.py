"""The model behind the SageMaker inference toolkit, by the functions that it asks its users for. SERVE_MODEL names the
folder."""

import os

from segment import Stages, decode, encode, load, predict


def model_fn(model_dir):
    return load(os.environ["SERVE_MODEL"])


def transform_fn(model, body, content_type, accept, context):
    stages = Stages()
    pixels = decode(body)
    stages.end("decode")
    ids = predict(model, pixels[None])[0]
    stages.end("model")
    mask = encode(ids)
    stages.end("encode")
    context.set_response_header(0, "Server-Timing", str(stages))
    return mask, "image/png"
