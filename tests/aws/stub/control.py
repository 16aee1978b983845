"""The module reads what tests post to /_control: settings, scripts, faults, and resources that no operation makes."""

import copy

from . import executions, jobs, logs, progress, registry
from .definition import all_steps
from .errors import invalid

SCRIPT_KEYS = {"plan", "steps", "property_files", "failure_reason"}
FAULT_KEYS = {"operation", "times", "skip", "code", "status", "message", "drop_after_commit", "drop", "html", "delay",
              "headers"}
KEYS = SCRIPT_KEYS | {"settings", "execution", "advance", "fail", "clear_faults", "groups", "packages", "jobs", "logs",
                      "credentials"}


def apply_control(account, wanted):
    """The function applies one posted object, and returns the ARNs of what it added."""
    unknown = set(wanted) - KEYS
    if unknown:
        raise invalid(f"/_control has no {sorted(unknown)}; it has {sorted(KEYS)}")
    added = {}
    change_settings(account, wanted.get("settings", {}))
    change_script(account, wanted)
    account.keys.update(wanted.get("credentials", {}))
    if wanted.get("clear_faults"):
        account.faults.clear()
    faults = wanted.get("fail", [])
    for fault in faults if isinstance(faults, list) else [faults]:
        if set(fault) - FAULT_KEYS:
            raise invalid(f"a fault has no {sorted(set(fault) - FAULT_KEYS)}; it has {sorted(FAULT_KEYS)}")
        account.faults.append({"operation": "*", "times": 1, "skip": 0} | fault)
    for group in wanted.get("groups", []):
        group = {"name": group} if isinstance(group, str) else group
        registry.add_group(account, group["name"], group.get("description"))
    if "packages" in wanted:
        added["packages"] = [registry.register_model(account, package) for package in wanted["packages"]]
    if "jobs" in wanted:
        added["jobs"] = [jobs.add_job(account, job["kind"], job["name"], job.get("fields", {}))
                         for job in wanted["jobs"]]
    for stream in wanted.get("logs", []):
        logs.add_events(account, stream["group"], stream["stream"], stream.get("events", []))
    if "advance" in wanted:
        execution = find_execution(account, wanted["advance"].get("execution", "latest"))
        for _ in range(wanted["advance"].get("polls", 1)):
            progress.poll_execution(account, execution)
    return added


def change_settings(account, settings):
    """The function changes settings that exist."""
    unknown = set(settings) - set(account.settings)
    if unknown:
        raise invalid(f"there are no settings {sorted(unknown)}; there are {sorted(account.settings)}")
    account.settings.update(settings)


def change_script(account, wanted):
    """The function changes how one execution goes on, or how all go that start later."""
    script = {key: copy.deepcopy(wanted[key]) for key in SCRIPT_KEYS & set(wanted)}
    if script.get("plan"):
        script["plan"].sort(key=lambda entry: entry.get("after_polls", 0))
    if "execution" not in wanted:
        account.script.update(script)
        return
    execution = find_execution(account, wanted["execution"])
    names = {step["Name"] for step in all_steps(executions.definition(execution)["Steps"])}
    unknown = (set(script.get("steps", {})) | {entry["step"] for entry in script.get("plan") or [] if "step" in entry})
    if unknown - names:
        raise invalid(f"the definition has no steps {sorted(unknown - names)}")
    execution["script"].update(script)


def find_execution(account, arn):
    """The function returns the execution of an ARN, or the one that started last."""
    if arn == "latest":
        if not account.executions:
            raise invalid("there is no execution")
        return max(account.executions.values(), key=lambda execution: execution["CreationTime"])
    return executions.find_execution(account, arn)
