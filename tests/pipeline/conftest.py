"""Keeps the tests away from AWS, before one of them imports the SDK."""

from offline import forbid_aws

forbid_aws()
