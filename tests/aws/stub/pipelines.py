"""The module answers the operations on pipelines and on tags."""

import json
import urllib.parse
import urllib.request

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .account import USER, page_answer, pick, run_once, sort_entries
from .definition import order_steps, parse_definition
from .errors import ServiceError, invalid, missing


def find_pipeline(account, name):
    """The function returns the pipeline of a name or an ARN."""
    arn = name if name.startswith("arn:") else account.arn(f"pipeline/{name}")
    for pipeline in account.pipelines.values():
        if pipeline["PipelineArn"] == arn:
            return pipeline
    raise missing(f"Pipeline '{arn}' does not exist.")


def read_definition(account, values, needed):
    """The function returns the definition's text of a request, out of S3 if it lies there; it is checked."""
    inline, place = values.get("PipelineDefinition"), values.get("PipelineDefinitionS3Location")
    if inline and place:
        raise invalid("Both Pipeline Definition and Pipeline Definition S3 Location shouldn't be present")
    if place:
        inline = fetch_object(account, place)
    if inline is None:
        if needed:
            raise invalid("Either Pipeline Definition or Pipeline Definition S3 location should be provided")
        return None
    definition = parse_definition(inline)
    order_steps(definition["Steps"])
    return inline


def fetch_object(account, place):
    """The function reads an object at the S3 endpoint of --s3, with the key testing."""
    if account.s3 is None:
        raise invalid("The stub has no S3 endpoint: start it with --s3 URL")
    url = f"{account.s3.rstrip('/')}/{place['Bucket']}/{urllib.parse.quote(place['ObjectKey'])}"
    if "VersionId" in place:
        url += f"?versionId={urllib.parse.quote(place['VersionId'], safe='')}"
    signed = AWSRequest("GET", url)
    S3SigV4Auth(Credentials("testing", "testing"), "s3", account.region).add_auth(signed)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(signed.headers)), timeout=20) as answer:
            return answer.read().decode()
    except (OSError, ValueError) as error:
        raise invalid(f"Unable to read the pipeline definition at s3://{place['Bucket']}/{place['ObjectKey']}: "
                      f"{error}") from None


def create_pipeline(account, values):
    """The function makes a pipeline whose name no other one has."""
    def create():
        name = values["PipelineName"]
        definition = read_definition(account, values, needed=True)
        if name in account.pipelines:
            raise invalid("Pipeline names must be unique within an AWS account and region. "
                          f"Pipeline with name ({name}) already exists.")
        now = account.now()
        arn = account.arn(f"pipeline/{name}")
        account.pipelines[name] = {
            "PipelineArn": arn, "PipelineName": name, "PipelineDefinition": definition, "PipelineStatus": "Active",
            "PipelineDisplayName": values.get("PipelineDisplayName", name), "CreationTime": now,
            "LastModifiedTime": now, "CreatedBy": USER, "LastModifiedBy": USER, "versions": [definition],
        } | pick(values, "PipelineDescription", "RoleArn", "ParallelismConfiguration")
        account.tags[arn] = {tag["Key"]: tag["Value"] for tag in values.get("Tags", [])}
        return {"PipelineArn": arn}
    return run_once(account, "CreatePipeline", values["ClientRequestToken"], values, create)


def update_pipeline(account, values):
    """The function changes what a request names of a pipeline; another definition makes another version."""
    pipeline = find_pipeline(account, values["PipelineName"])
    definition = read_definition(account, values, needed=False)
    if definition is not None and definition != pipeline["PipelineDefinition"]:
        pipeline["versions"].append(definition)
        pipeline["PipelineDefinition"] = definition
    pipeline.update(pick(values, "PipelineDisplayName", "PipelineDescription", "RoleArn", "ParallelismConfiguration"))
    pipeline["LastModifiedTime"] = account.now()
    return {"PipelineArn": pipeline["PipelineArn"], "PipelineVersionId": len(pipeline["versions"])}


def describe_pipeline(account, values):
    """The function describes a pipeline, with an earlier definition if a version is asked for."""
    pipeline = find_pipeline(account, values["PipelineName"])
    version = values.get("PipelineVersionId", len(pipeline["versions"]))
    if version > len(pipeline["versions"]):
        raise missing(f"Pipeline version {version} of '{pipeline['PipelineArn']}' does not exist.")
    return {name: value for name, value in pipeline.items() if name != "versions"} | {
        "PipelineDefinition": pipeline["versions"][version - 1]}


def delete_pipeline(account, values):
    """The function deletes a pipeline of which nothing runs."""
    def delete():
        pipeline = find_pipeline(account, values["PipelineName"])
        arn = pipeline["PipelineArn"]
        if any(execution["PipelineArn"] == arn and execution["PipelineExecutionStatus"] in ("Executing", "Stopping")
               for execution in account.executions.values()):
            raise ServiceError("ConflictException", f"Pipeline '{arn}' has running executions.")
        del account.pipelines[pipeline["PipelineName"]]
        account.tags.pop(arn, None)
        account.executions = {key: execution for key, execution in account.executions.items()
                              if execution["PipelineArn"] != arn}
        return {"PipelineArn": arn}
    return run_once(account, "DeletePipeline", values["ClientRequestToken"], values, delete)


def list_pipelines(account, values):
    """The function lists pipelines, the newest first by default."""
    found = [pipeline for pipeline in account.pipelines.values()
             if pipeline["PipelineName"].startswith(values.get("PipelineNamePrefix", ""))
             and values.get("CreatedAfter", 0) <= pipeline["CreationTime"] <= values.get("CreatedBefore", 1e12)]
    found = sort_entries(values, found, {"Name": "PipelineName", "CreationTime": "CreationTime"}, "CreationTime",
                         "Descending")
    summaries = [pick(pipeline, "PipelineArn", "PipelineName", "PipelineDisplayName", "PipelineDescription", "RoleArn",
                      "CreationTime", "LastModifiedTime")
                 | ({"LastExecutionTime": pipeline["LastRunTime"]} if "LastRunTime" in pipeline else {})
                 for pipeline in found]
    return page_answer(account, "ListPipelines", values, "PipelineSummaries", summaries)


def find_tags(account, arn):
    """The function returns the tags of a resource that exists."""
    known = ({pipeline["PipelineArn"] for pipeline in account.pipelines.values()} | set(account.executions)
             | {group["ModelPackageGroupArn"] for group in account.groups.values()} | set(account.packages))
    if arn not in known:
        raise invalid(f"Resource {arn} does not exist.")
    return account.tags.setdefault(arn, {})


def add_tags(account, values):
    """The function adds tags to a resource, and overwrites those of the same keys."""
    tags = find_tags(account, values["ResourceArn"])
    added = {tag["Key"]: tag["Value"] for tag in values["Tags"]}
    if len(tags | added) > 50:
        raise ServiceError("ResourceLimitExceeded", "A resource can have at most 50 tags.")
    tags.update(added)
    return {"Tags": tag_list(tags)}


def list_tags(account, values):
    """The function lists the tags of a resource."""
    tags = tag_list(find_tags(account, values["ResourceArn"]))
    return page_answer(account, "ListTags", values, "Tags", tags, default=50)


def delete_tags(account, values):
    """The function removes tags of a resource."""
    tags = find_tags(account, values["ResourceArn"])
    for key in values["TagKeys"]:
        tags.pop(key, None)
    return {}


def tag_list(tags):
    """The function writes tags as the API does."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def definition_of(pipeline, version):
    """The function returns the parsed definition of a version of a pipeline."""
    return json.loads(pipeline["versions"][version - 1])


OPERATIONS = {
    "CreatePipeline": create_pipeline, "UpdatePipeline": update_pipeline, "DescribePipeline": describe_pipeline,
    "DeletePipeline": delete_pipeline, "ListPipelines": list_pipelines, "AddTags": add_tags, "ListTags": list_tags,
    "DeleteTags": delete_tags,
}
