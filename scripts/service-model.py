#!/usr/bin/env python3
"""Writes the table by which `maskmaker pipeline check` checks the requests of steps: the shapes of SageMaker's API that a
pipeline's steps take and return, out of the service model that botocore carries.
    pip install botocore==1.44.8; scripts/service-model.py > src/pipeline/service_model/sagemaker.json
"""

import json
import sys

import botocore
import botocore.loaders

VERSION = "1.44.8"
# For each type of step: the operation that starts it, the one that describes it, and the member of the request that names
# the job, which the service fills in.
STEPS = {
    "Processing": ("CreateProcessingJob", "DescribeProcessingJob", "ProcessingJobName"),
    "Training": ("CreateTrainingJob", "DescribeTrainingJob", "TrainingJobName"),
    "Tuning": ("CreateHyperParameterTuningJob", "DescribeHyperParameterTuningJob", "HyperParameterTuningJobName"),
    "Transform": ("CreateTransformJob", "DescribeTransformJob", "TransformJobName"),
    "Model": ("CreateModel", "DescribeModel", "ModelName"),
    "RegisterModel": ("CreateModelPackage", "DescribeModelPackage", "ModelPackageName"),
}
CONSTRAINTS = ("type", "min", "max", "pattern", "enum", "required")
# What Rust's regular expressions do not have, and what stands in its place: the same or a little more is allowed.
PATTERN_REWRITES = {
    "${1,128}": "",  # repeats the end of the text, which says nothing
    "${1,256}": "",
    "(?<!-)": "",  # looks behind
    "(?!.*\\.\\.)": "",  # looks ahead
    "\\p{Alnum}": "a-zA-Z0-9",
    # Counts as large as these make huge automata, and `max` of the shape limits the whole text.
    "{0,1024}": "*",
    "{0,1023}": "*",
    "{1,2048}": "+",
}
# Shapes whose patterns name halves of UTF-16's surrogate pairs, which no text in Rust has.
SHAPES_WITHOUT_PATTERN = {"AthenaCatalog", "AthenaDatabase", "RedshiftClusterId", "RedshiftDatabase", "RedshiftUserName"}


def reachable(shapes, names):
    found = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        shape = shapes[name]
        kept = {key: shape[key] for key in CONSTRAINTS if key in shape}
        if name in SHAPES_WITHOUT_PATTERN:
            kept.pop("pattern", None)
        for text, replacement in PATTERN_REWRITES.items():
            if "pattern" in kept:
                kept["pattern"] = kept["pattern"].replace(text, replacement)
        if "members" in shape:
            kept["members"] = {key: member["shape"] for key, member in shape["members"].items()}
            waiting.extend(kept["members"].values())
        for key in ("member", "key", "value"):
            if key in shape:
                kept[key] = shape[key]["shape"]
                waiting.append(kept[key])
        found[name] = kept
    return found


def main():
    if botocore.__version__ != VERSION:
        sys.exit(f"botocore is {botocore.__version__}; install botocore=={VERSION}")
    model = botocore.loaders.Loader().load_service_model("sagemaker", "service-2")
    steps, names = {}, []
    for kind, (create, describe, job_name) in STEPS.items():
        request = model["operations"][create]["input"]["shape"]
        response = model["operations"][describe]["output"]["shape"]
        steps[kind] = {"operation": create, "request": request, "response": response, "job_name": job_name}
        names += [request, response]
    # Of a tuning step the SDK reads the list of its training jobs, too, which another operation returns.
    jobs = model["operations"]["ListTrainingJobsForHyperParameterTuningJob"]["output"]["shape"]
    summaries = model["shapes"][jobs]["members"]["TrainingJobSummaries"]
    model["shapes"][steps["Tuning"]["response"]]["members"]["TrainingJobSummaries"] = summaries
    shapes = reachable(model["shapes"], names)
    lines = [f"  {json.dumps(name)}: {json.dumps(shapes[name], sort_keys=True)}" for name in sorted(shapes)]
    print("{")
    print(f'"botocore": "{VERSION}",')
    print(f'"steps": {json.dumps(steps, sort_keys=True)},')
    print('"shapes": {')
    print(",\n".join(lines))
    print("}\n}")


main()
