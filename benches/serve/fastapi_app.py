"""The model behind FastAPI: `uvicorn fastapi_app:app`. SERVE_MODEL names the folder."""

import os
from threading import Lock

from fastapi import FastAPI, Request, Response
from segment import Stages, decode, encode, load, predict
from starlette.concurrency import run_in_threadpool

app = FastAPI()
model = load(os.environ["SERVE_MODEL"])
# One image computes at a time: several that share the cores only wait for each other. Others are read and written meanwhile.
computing = Lock()


def segment(body):
    stages = Stages()
    pixels = decode(body)
    stages.end("decode")
    with computing:
        stages.end("queue")
        ids = predict(model, pixels[None])[0]
        stages.end("model")
    mask = encode(ids)
    stages.end("encode")
    return mask, str(stages)


@app.post("/invocations")
async def invocations(request: Request):
    # Off the event loop, which must go on reading and answering.
    mask, timing = await run_in_threadpool(segment, await request.body())
    return Response(mask, media_type="image/png", headers={"Server-Timing": timing})
