"""The module moves pipeline executions on: by one state per poll, or along a plan that the test gave."""

import json

from . import jobs, registry
from .definition import Resolver, all_steps
from .errors import invalid

ENDED = ("Succeeded", "Failed", "Stopped")
STEPS_FAILED = "Step failure: One or multiple steps failed."


def resolver_of(account, execution):
    """The function returns the resolver of an execution's references, with the jobs that it has so far."""
    definition = json.loads(execution["definition"])
    arn = execution["PipelineExecutionArn"]
    known = {"PipelineName": execution["pipeline_name"], "PipelineArn": execution["PipelineArn"],
             "PipelineExecutionArn": arn, "PipelineExecutionId": arn.rpartition("/")[2],
             "StartDateTime": str(execution["CreationTime"]), "CurrentDateTime": str(execution["CreationTime"])}
    properties = {record["StepName"]: account.jobs[record["job"]]["answer"] for record in execution["steps"]
                  if record.get("job") in account.jobs}
    properties |= {record["StepName"]: account.packages[record["job"]] for record in execution["steps"]
                   if record.get("job") in account.packages}
    return Resolver(definition, execution["parameters"], known, properties,
                    execution["script"].get("property_files", {}))


def poll_execution(account, execution):
    """The function counts a poll of an execution, and moves what is due."""
    polls = execution["polls"]
    execution["polls"] = polls + 1
    status = execution["PipelineExecutionStatus"]
    if status == "Stopping":
        finish_stopping(account, execution)
    elif status == "Executing" and execution["script"].get("plan") is not None:
        follow_plan(account, execution, polls)
    elif status == "Executing":
        advance(account, execution)


def advance(account, execution):
    """The function moves the first step that has not ended by one state."""
    record = next((record for record in execution["steps"] if record["StepStatus"] not in ENDED), None)
    if record is None:
        begin_step(account, execution, execution["waiting"].pop(0))
    elif record["StepStatus"] == "Starting" and not ending_of(execution, record["StepName"]).get("cache_hit"):
        set_status(account, execution, record, "Executing")
    elif record["StepStatus"] == "Executing" and record["polls_left"] > 1:
        record["polls_left"] -= 1
        jobs.continue_job(account, record, ending_of(execution, record["StepName"]))
    else:
        ending = ending_of(execution, record["StepName"])
        set_status(account, execution, record, ending.get("status", "Succeeded"))
    settle(account, execution)


def follow_plan(account, execution, polls):
    """The function applies all entries of the plan that are due after a number of polls."""
    plan = execution["script"]["plan"]
    while plan and plan[0].get("after_polls", 0) <= polls and execution["PipelineExecutionStatus"] == "Executing":
        entry = plan.pop(0)
        if "execution_status" in entry:
            end_execution(account, execution, entry["execution_status"], entry.get("failure_reason"))
            continue
        name = entry["step"]
        record = next((record for record in execution["steps"] if record["StepName"] == name), None)
        if record is None:
            steps = all_steps(json.loads(execution["definition"])["Steps"])
            step = next((step for step in steps if step["Name"] == name), None)
            if step is None:
                raise invalid(f"The plan names the step {name}, which the definition lacks.")
            record = begin_step(account, execution, step)
        execution["script"].setdefault("steps", {}).setdefault(name, {}).update(entry)
        set_status(account, execution, record, entry.get("status", "Executing"))
    if not plan:
        execution["waiting"] = []
        settle(account, execution)


def settle(account, execution):
    """The function ends an execution of which no step is left."""
    done = all(record["StepStatus"] in ENDED for record in execution["steps"])
    if execution["PipelineExecutionStatus"] == "Executing" and done and not execution["waiting"]:
        end_execution(account, execution, "Succeeded")


def end_execution(account, execution, status, reason=None):
    """The function gives an execution its status, and the reason of a failure."""
    execution["PipelineExecutionStatus"] = status
    execution["LastModifiedTime"] = account.now()
    if reason is not None:
        execution["FailureReason"] = reason


def ending_of(execution, name):
    """The function returns what the test said of a step of an execution."""
    return execution["script"].get("steps", {}).get(name, {})


def begin_step(account, execution, step):
    """The function adds a step to an execution; it is Starting."""
    ending = ending_of(execution, step["Name"])
    record = {"StepName": step["Name"], "StepStatus": "Starting", "StartTime": account.now(),
              "AttemptCount": ending.get("attempts", 1), "definition": step, "job": None,
              "polls_left": ending.get("polls", account.settings["polls"])}
    record |= {member: step[name] for name, member in (("DisplayName", "StepDisplayName"),
                                                       ("Description", "StepDescription")) if name in step}
    execution["steps"].append(record)
    return record


def set_status(account, execution, record, status):
    """The function changes a step's status, with its job, its branch, and the execution if the step ends."""
    ending = ending_of(execution, record["StepName"])
    kind = record["definition"]["Type"]
    if kind == "Fail" and status == "Succeeded":
        status = "Failed"
    if record["job"] is None and status != "Starting" and kind in jobs.KINDS:
        jobs.begin_job(account, execution, record, resolver_of(account, execution), ending)
    record["StepStatus"] = status
    if status == "Executing" and record["job"]:
        jobs.continue_job(account, record, ending)
    if status not in ENDED:
        return
    record["EndTime"] = account.now()
    if record["job"]:
        jobs.end_job(account, record, status, ending)
    if status == "Succeeded":
        succeed(account, execution, record, ending)
    elif status == "Failed":
        fail(account, execution, record, ending)


def succeed(account, execution, record, ending):
    """The function adds what a step that succeeded leaves: a branch, a model package, or a hit of the cache."""
    kind = record["definition"]["Type"]
    if kind == "Condition":
        outcome = ending.get("outcome", "True")
        record["Metadata"] = {"Condition": {"Outcome": outcome}}
        branch = "IfSteps" if outcome == "True" else "ElseSteps"
        execution["waiting"][:0] = record["definition"].get("Arguments", {}).get(branch, [])
    elif kind == "RegisterModel":
        arguments = resolver_of(account, execution).resolve(record["definition"]["Arguments"])
        record["job"] = registry.register_model(account, arguments)
        record["Metadata"] = {"RegisterModel": {"Arn": record["job"]}}
    hit = ending.get("cache_hit")
    if hit:
        source = hit if isinstance(hit, str) else f"{execution['PipelineArn']}/execution/earlierone00"
        record["CacheHitResult"] = {"SourcePipelineExecutionArn": source}


def fail(account, execution, record, ending):
    """The function adds why a step failed, and ends the execution."""
    if record["definition"]["Type"] == "Fail":
        text = record["definition"].get("Arguments", {}).get("ErrorMessage", "")
        message = ending.get("error_message") or str(resolver_of(account, execution).resolve(text))
        record["Metadata"] = {"Fail": {"ErrorMessage": message}}
        record["FailureReason"] = message[:1024]
    else:
        record["FailureReason"] = ending.get("failure_reason", "ClientError: the step failed")
    reason = execution["script"].get("failure_reason", STEPS_FAILED)
    end_execution(account, execution, "Failed", reason)


def begin_stopping(account, execution):
    """The function begins to stop an execution and the step that runs."""
    execution["stop_polls_left"] = account.settings["stop_polls"]
    end_execution(account, execution, "Stopping")
    for record in execution["steps"]:
        if record["StepStatus"] not in ENDED:
            record["StepStatus"] = "Stopping"
            jobs.mark_stopping(account, record)


def finish_stopping(account, execution):
    """The function ends the stopping of an execution after as many polls as the settings say."""
    if execution["stop_polls_left"] > 0:
        execution["stop_polls_left"] -= 1
        return
    for record in execution["steps"]:
        if record["StepStatus"] == "Stopping":
            record["StepStatus"], record["EndTime"] = "Stopped", account.now()
            if record["job"]:
                jobs.end_job(account, record, "Stopped", {})
    end_execution(account, execution, "Stopped")
