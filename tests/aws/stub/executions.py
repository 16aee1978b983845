"""The module answers the operations on pipeline executions."""

import copy
import json

from . import progress
from .account import USER, page_answer, pick, run_once, sort_entries
from .definition import check_parameters, order_steps
from .errors import invalid, missing
from .pipelines import definition_of, find_pipeline

STEP_MEMBERS = ("StepName", "StepDisplayName", "StepDescription", "StartTime", "EndTime", "StepStatus",
                "CacheHitResult", "FailureReason", "Metadata", "AttemptCount")


def find_execution(account, arn):
    """The function returns the execution of an ARN."""
    if arn not in account.executions:
        raise missing(f"Pipeline execution with ARN {arn} does not exist.")
    return account.executions[arn]


def start_execution(account, values):
    """The function starts an execution of a pipeline if the parameters fit its definition."""
    def start():
        pipeline = find_pipeline(account, values["PipelineName"])
        version = values.get("PipelineVersionId", len(pipeline["versions"]))
        if version > len(pipeline["versions"]):
            raise missing(f"Pipeline version {version} of '{pipeline['PipelineArn']}' does not exist.")
        definition = definition_of(pipeline, version)
        parameters = check_parameters(definition, values.get("PipelineParameters", []))
        waiting = order_steps(definition["Steps"])
        if "SelectiveExecutionConfig" in values:
            waiting = select_steps(account, values["SelectiveExecutionConfig"], waiting)
        number = account.random(12)
        arn = f"{pipeline['PipelineArn']}/execution/{number}"
        now = account.now()
        execution = {
            "PipelineArn": pipeline["PipelineArn"], "PipelineExecutionArn": arn,
            "pipeline_name": pipeline["PipelineName"],
            "PipelineExecutionDisplayName": f"execution-{int(now * 1000)}", "PipelineExecutionStatus": "Executing",
            "CreationTime": now, "LastModifiedTime": now, "CreatedBy": USER, "LastModifiedBy": USER,
            "PipelineVersionId": version, "definition": pipeline["versions"][version - 1], "parameters": parameters,
            "steps": [], "waiting": waiting, "polls": 0, "script": copy.deepcopy(account.script),
        } | pick(pipeline, "ParallelismConfiguration", "RoleArn") | pick(
            values, "PipelineExecutionDisplayName", "PipelineExecutionDescription", "ParallelismConfiguration",
            "RoleArn", "SelectiveExecutionConfig")
        account.executions[arn] = execution
        if "PipelineExperimentConfig" in definition:
            names = progress.resolver_of(account, execution).resolve(definition["PipelineExperimentConfig"])
            execution["PipelineExperimentConfig"] = names
        pipeline["LastRunTime"] = now
        return {"PipelineExecutionArn": arn}
    return run_once(account, "StartPipelineExecution", values["ClientRequestToken"], values, start)


def select_steps(account, selection, steps):
    """The function keeps the steps that a selective execution names; it takes nothing over from its source."""
    if "SourcePipelineExecutionArn" in selection:
        find_execution(account, selection["SourcePipelineExecutionArn"])
    names = {entry["StepName"] for entry in selection["SelectedSteps"]}
    unknown = names - {step["Name"] for step in steps}
    if unknown:
        raise invalid(f"The selected steps {sorted(unknown)} are not in the pipeline definition.")
    return [step for step in steps if step["Name"] in names]


def stop_execution(account, values):
    """The function begins to stop an execution that runs; one that stops already goes on stopping."""
    def stop():
        execution = find_execution(account, values["PipelineExecutionArn"])
        status = execution["PipelineExecutionStatus"]
        if status not in ("Executing", "Stopping"):
            raise invalid(f"Pipeline execution with ARN {values['PipelineExecutionArn']} cannot be stopped: "
                          f"it is in status {status}.")
        if status == "Executing":
            progress.begin_stopping(account, execution)
        return {"PipelineExecutionArn": values["PipelineExecutionArn"]}
    return run_once(account, "StopPipelineExecution", values["ClientRequestToken"], values, stop)


def poll(account, operation, execution, values):
    """The function moves an execution on if this call counts as a poll; further pages never do."""
    counts = operation in account.settings["poll_operations"]
    if (counts or execution["PipelineExecutionStatus"] == "Stopping") and "NextToken" not in values:
        progress.poll_execution(account, execution)


def describe_execution(account, values):
    """The function describes an execution."""
    execution = find_execution(account, values["PipelineExecutionArn"])
    poll(account, "DescribePipelineExecution", execution, values)
    return pick(execution, "PipelineArn", "PipelineExecutionArn", "PipelineExecutionDisplayName",
                "PipelineExecutionStatus", "PipelineExecutionDescription", "PipelineExperimentConfig", "FailureReason",
                "CreationTime", "LastModifiedTime", "CreatedBy", "LastModifiedBy", "ParallelismConfiguration",
                "SelectiveExecutionConfig", "PipelineVersionId", "RoleArn")


def list_executions(account, values):
    """The function lists the executions of a pipeline, the newest first by default."""
    arn = find_pipeline(account, values["PipelineName"])["PipelineArn"]
    found = [execution for execution in account.executions.values() if execution["PipelineArn"] == arn
             and values.get("CreatedAfter", 0) <= execution["CreationTime"] <= values.get("CreatedBefore", 1e12)]
    keys = {"CreationTime": "CreationTime", "PipelineExecutionArn": "PipelineExecutionArn"}
    found = sort_entries(values, found, keys, "CreationTime", "Descending")
    summaries = [pick(execution, "PipelineExecutionArn", "PipelineExecutionStatus", "PipelineExecutionDescription",
                      "PipelineExecutionDisplayName") | {"StartTime": execution["CreationTime"]}
                 | ({"PipelineExecutionFailureReason": execution["FailureReason"]}
                    if "FailureReason" in execution else {})
                 for execution in found]
    return page_answer(account, "ListPipelineExecutions", values, "PipelineExecutionSummaries", summaries)


def list_steps(account, values):
    """The function lists the steps that have begun, the newest first by default; its first page moves them on."""
    if "PipelineExecutionArn" not in values:
        raise invalid("PipelineExecutionArn must be given.")
    execution = find_execution(account, values["PipelineExecutionArn"])
    poll(account, "ListPipelineExecutionSteps", execution, values)
    found = sort_entries(values, execution["steps"], {"StartTime": "StartTime"}, "StartTime", "Descending")
    steps = [pick(record, *STEP_MEMBERS) for record in found]
    return page_answer(account, "ListPipelineExecutionSteps", values, "PipelineExecutionSteps", steps)


def list_parameters(account, values):
    """The function lists all parameters of an execution, those with their default values too."""
    execution = find_execution(account, values["PipelineExecutionArn"])
    parameters = [{"Name": name, "Value": value} for name, value in execution["parameters"].items()]
    return page_answer(account, "ListPipelineParametersForExecution", values, "PipelineParameters", parameters)


def describe_definition(account, values):
    """The function returns the definition that an execution runs."""
    execution = find_execution(account, values["PipelineExecutionArn"])
    return {"PipelineDefinition": execution["definition"], "CreationTime": execution["CreationTime"]}


def definition(execution):
    """The function returns the parsed definition of an execution."""
    return json.loads(execution["definition"])


OPERATIONS = {
    "StartPipelineExecution": start_execution, "StopPipelineExecution": stop_execution,
    "DescribePipelineExecution": describe_execution, "ListPipelineExecutions": list_executions,
    "ListPipelineExecutionSteps": list_steps, "ListPipelineParametersForExecution": list_parameters,
    "DescribePipelineDefinitionForExecution": describe_definition,
}
