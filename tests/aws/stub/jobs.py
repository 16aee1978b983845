"""The module makes the jobs of steps, moves them on, and answers the operations that describe them."""

from . import logs, model
from .errors import invalid

# Type of step -> the job's kind in ARNs, what describes it, its member in a step's Metadata, and its log group.
KINDS = {
    "Training": ("training-job", "DescribeTrainingJob", "TrainingJob", "/aws/sagemaker/TrainingJobs"),
    "Processing": ("processing-job", "DescribeProcessingJob", "ProcessingJob", "/aws/sagemaker/ProcessingJobs"),
    "Tuning": ("hyper-parameter-tuning-job", "DescribeHyperParameterTuningJob", "TuningJob", None),
}
STATUS = {"Succeeded": "Completed", "Failed": "Failed", "Stopped": "Stopped"}
STATUS_MEMBER = {"training-job": "TrainingJobStatus", "processing-job": "ProcessingJobStatus",
                 "hyper-parameter-tuning-job": "HyperParameterTuningJobStatus"}
SECONDARY_TEXTS = {"Starting": "Preparing the instances for training", "Downloading": "Downloading the training image",
                   "Training": "Training image download completed. Training in progress.",
                   "Uploading": "Uploading generated training model", "Completed": "Training job completed",
                   "Stopping": "Stopping the training job", "Stopped": "Training job stopped",
                   "Failed": "Training job failed"}


def begin_job(account, execution, record, resolver, ending):
    """The function makes the job of a step out of the step's arguments."""
    step = record["definition"]
    kind, operation, member, group = KINDS[step["Type"]]
    execution_id = execution["PipelineExecutionArn"].rpartition("/")[2]
    if step["Type"] == "Tuning":
        name = f"{execution_id}-{step['Name'][:7]}-{account.random(8)}".replace("_", "-")
    else:
        name = f"pipelines-{execution_id}-{step['Name'][:28]}-{account.random(10)}".replace("_", "-")
    arguments = resolver.resolve(step.get("Arguments", {}))
    arn = add_job(account, kind, name, fitting_members(operation, arguments))
    answer = account.jobs[arn]["answer"]
    if step["Type"] == "Training":
        root = answer.get("OutputDataConfig", {}).get("S3OutputPath", "s3://amzn-s3-demo-bucket/output").rstrip("/")
        answer["ModelArtifacts"] = {"S3ModelArtifacts": f"{root}/{name}/output/model.tar.gz"}
    account.jobs[arn] |= {"group": group, "lines": list(ending.get("log", []))}
    if group and ending.get("log"):
        account.jobs[arn]["stream"] = f"{name}/algo-1-{int(account.now())}"
        logs.add_events(account, group, account.jobs[arn]["stream"], [])
    record["job"] = arn
    record["Metadata"] = {member: {"Arn": arn}}


def fitting_members(operation, arguments):
    """The function keeps those resolved arguments that the description of the job can hold."""
    members = model.find_operation("sagemaker", operation).output_shape.members
    kept = {}
    for name, value in arguments.items():
        violations = []
        if name in members:
            model.checked_constraints(members[name], value, name, violations)
            if not violations:
                kept[name] = value
    return kept


def add_job(account, kind, name, fields):
    """The function adds a job that is in progress, with what its description must have, and returns its ARN."""
    arn = account.arn(f"{kind}/{name}")
    now = account.now()
    required = {
        "training-job": {
            "TrainingJobName": name, "TrainingJobArn": arn, "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting", "SecondaryStatusTransitions": [],
            "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
            "ModelArtifacts": {"S3ModelArtifacts": f"s3://amzn-s3-demo-bucket/{name}/output/model.tar.gz"}},
        "processing-job": {
            "ProcessingJobName": name, "ProcessingJobArn": arn, "ProcessingJobStatus": "InProgress",
            "AppSpecification": {"ImageUri": "image"}, "ProcessingResources": {"ClusterConfig": {
                "InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}}},
        "hyper-parameter-tuning-job": {
            "HyperParameterTuningJobName": name, "HyperParameterTuningJobArn": arn,
            "HyperParameterTuningJobStatus": "InProgress",
            "HyperParameterTuningJobConfig": {"Strategy": "Bayesian", "ResourceLimits": {"MaxParallelTrainingJobs": 1}},
            "TrainingJobStatusCounters": {"Completed": 0, "InProgress": 1, "RetryableError": 0, "NonRetryableError": 0,
                                          "Stopped": 0},
            "ObjectiveStatusCounters": {"Succeeded": 0, "Pending": 1, "Failed": 0}},
    }[kind]
    answer = required | {"CreationTime": now, "LastModifiedTime": now} | fields
    account.jobs[arn] = {"kind": kind, "name": name, "answer": answer, "lines": [], "group": None}
    return arn


def continue_job(account, record, ending):
    """The function moves a running job on: its secondary status, and one line of its log."""
    job = account.jobs.get(record["job"])
    if job is None:
        return
    if job["kind"] == "training-job":
        phase = {1: "Training", 2: "Downloading"}.get(record["polls_left"], "Starting")
        set_secondary_status(account, job, ending.get("secondary_status", phase))
    start = {"training-job": "TrainingStartTime", "processing-job": "ProcessingStartTime"}.get(job["kind"])
    if start:
        job["answer"].setdefault(start, account.now())
    write_log(account, job, 1)


def write_log(account, job, count):
    """The function writes the next lines of a job's log."""
    if job.get("stream"):
        logs.add_events(account, job["group"], job["stream"], job["lines"][:count])
        job["lines"] = job["lines"][count:]


def set_secondary_status(account, job, status):
    """The function changes the secondary status of a training job and adds the change to its list."""
    answer, now = job["answer"], account.now()
    transitions = answer["SecondaryStatusTransitions"]
    if transitions and transitions[-1]["Status"] == status:
        return
    if transitions:
        transitions[-1]["EndTime"] = now
    answer["SecondaryStatus"] = status
    transitions.append({"Status": status, "StartTime": now, "StatusMessage": SECONDARY_TEXTS.get(status, status)})


def mark_stopping(account, record):
    """The function marks the job of a step as stopping."""
    job = account.jobs.get(record["job"])
    if job:
        job["answer"][STATUS_MEMBER[job["kind"]]] = "Stopping"
        if job["kind"] == "training-job":
            set_secondary_status(account, job, "Stopping")


def end_job(account, record, status, ending):
    """The function ends the job of a step, with its metrics, its messages and the rest of its log."""
    job = account.jobs.get(record["job"])
    if job is None:
        return
    write_log(account, job, len(job["lines"]))
    answer, now, kind = job["answer"], account.now(), job["kind"]
    answer[STATUS_MEMBER[kind]] = STATUS[status]
    answer["LastModifiedTime"] = now
    answer[{"training-job": "TrainingEndTime", "processing-job": "ProcessingEndTime",
            "hyper-parameter-tuning-job": "HyperParameterTuningEndTime"}[kind]] = now
    if status == "Failed":
        answer["FailureReason"] = ending.get("job_failure_reason",
                                             ending.get("failure_reason", "ClientError: the step failed"))[:1024]
    if "exit_message" in ending and kind == "processing-job":
        answer["ExitMessage"] = ending["exit_message"]
    if kind == "training-job":
        set_secondary_status(account, job, ending.get("final_secondary_status", STATUS[status]))
        answer["TrainingTimeInSeconds"] = answer["BillableTimeInSeconds"] = ending.get("seconds", 60)
        answer["FinalMetricDataList"] = [{"MetricName": name, "Value": value, "Timestamp": now}
                                         for name, value in ending.get("metrics", {}).items()]
    answer.update(ending.get("job", {}))


def describe_job(kind, name_member, text):
    """The function returns the operation that describes jobs of a kind."""
    def describe(account, values):
        job = account.jobs.get(account.arn(f"{kind}/{values[name_member]}"))
        if job is None:
            raise invalid(text.format(values[name_member]))
        return job["answer"]
    return describe


OPERATIONS = {
    "DescribeTrainingJob": describe_job("training-job", "TrainingJobName", "Requested resource not found."),
    "DescribeProcessingJob": describe_job("processing-job", "ProcessingJobName",
                                          "Could not find requested job with name: {}"),
    "DescribeHyperParameterTuningJob": describe_job(
        "hyper-parameter-tuning-job", "HyperParameterTuningJobName",
        "Amazon SageMaker can't find a tuning job with the name {}."),
}
