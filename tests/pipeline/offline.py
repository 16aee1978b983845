"""Keeps SageMaker's Python SDK away from AWS."""

import os
import tempfile
from pathlib import Path


def forbid_aws():
    """Points every service to a closed port, gives the SDK keys of nobody, and lets it report no usage.

    Call it before the SDK is imported.
    """
    config = Path(tempfile.mkdtemp()) / "config.yaml"
    config.write_text("SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n")
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_DEFAULT_REGION": "us-east-2",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_SECRET_ACCESS_KEY": "none",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
    }
