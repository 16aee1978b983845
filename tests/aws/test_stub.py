"""The tests drive the stub's pipelines with Amazon's own client, which accepts only answers that fit the service model.

    python -m venv V && V/bin/pip install -r tests/aws/stub-requirements.txt && V/bin/pytest -q tests/aws
"""

import datetime
import json

import pytest

from stub_client import DEFINITION, REVISION, ROLE, ROOT, TOKEN, code_and_text, create, job_name, run_to_end, start


# Pipelines and tags.

def test_a_pipeline_is_created_described_changed_and_deleted(sagemaker):
    arn = create(sagemaker, PipelineDescription="masks", Tags=[{"Key": "team", "Value": "ä b"}],
                 ParallelismConfiguration={"MaxParallelExecutionSteps": 2})["PipelineArn"]
    assert arn == "arn:aws:sagemaker:us-east-2:111122223333:pipeline/maskmaker"
    found = sagemaker.describe_pipeline(PipelineName="maskmaker")
    assert (found["PipelineDefinition"], found["PipelineStatus"], found["RoleArn"]) == (DEFINITION, "Active", ROLE)
    assert isinstance(found["CreationTime"], datetime.datetime)
    changed = DEFINITION.replace('"DefaultValue": 10,', '"DefaultValue": 11,')
    assert changed != DEFINITION
    updated = sagemaker.update_pipeline(PipelineName="maskmaker", PipelineDefinition=changed)
    assert updated["PipelineVersionId"] == 2
    assert sagemaker.describe_pipeline(PipelineName=arn)["PipelineDefinition"] == changed
    assert sagemaker.describe_pipeline(PipelineName=arn, PipelineVersionId=1)["PipelineDefinition"] == DEFINITION
    assert sagemaker.delete_pipeline(PipelineName="maskmaker")["PipelineArn"] == arn
    assert code_and_text(sagemaker.describe_pipeline, PipelineName="maskmaker") == (
        "ResourceNotFound", f"Pipeline '{arn}' does not exist.")


def test_names_are_unique_and_definitions_are_checked(sagemaker):
    create(sagemaker)
    code, text = code_and_text(create, sagemaker=sagemaker)
    assert code == "ValidationException" and text == (
        "Pipeline names must be unique within an AWS account and region. "
        "Pipeline with name (maskmaker) already exists.")
    for bad in ["{", "[]", '{"Version": "2020-12-01", "Steps": {}}',
                DEFINITION.replace("Parameters.Epochs", "Parameters.Epoch"),
                DEFINITION.replace('"Name": "Evaluate"', '"Name": "Train"')]:
        code, text = code_and_text(create, sagemaker=sagemaker, name="bad", PipelineDefinition=bad)
        assert code == "ValidationException" and text.startswith("Unable to parse pipeline definition.")
    code, text = code_and_text(sagemaker.update_pipeline, PipelineName="none", PipelineDefinition=DEFINITION)
    assert code == "ResourceNotFound"


def test_a_definition_is_read_from_s3(sagemaker):
    place = {"Bucket": "amzn-s3-demo-bucket", "ObjectKey": "pipelines/pipeline.json"}
    sagemaker.create_pipeline(PipelineName="maskmaker", RoleArn=ROLE, PipelineDefinitionS3Location=place)
    assert sagemaker.describe_pipeline(PipelineName="maskmaker")["PipelineDefinition"] == DEFINITION
    code, text = code_and_text(sagemaker.update_pipeline, PipelineName="maskmaker",
                               PipelineDefinitionS3Location=place | {"ObjectKey": "none"})
    assert code == "ValidationException" and "s3://amzn-s3-demo-bucket/none" in text


def test_tags_are_added_listed_and_removed(sagemaker):
    arn = create(sagemaker, Tags=[{"Key": "a", "Value": "1"}])["PipelineArn"]
    added = sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}])["Tags"]
    assert added == [{"Key": "a", "Value": "3"}, {"Key": "b", "Value": "2"}]
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert code_and_text(sagemaker.list_tags, ResourceArn=arn + "x")[0] == "ValidationException"


def test_every_list_has_pages(stub, sagemaker):
    stub.control(settings={"page_size": 2}, groups=["one", "two", "three"])
    stub.control(packages=[{"ModelPackageGroupName": "one"}] * 5)
    for number in range(5):
        create(sagemaker, f"p{number}")
    create(sagemaker)
    arns = [start(sagemaker) for _ in range(5)]
    stub.control(advance={"polls": 60})

    def names(operation, member, name, **arguments):
        pages = list(sagemaker.get_paginator(operation).paginate(**arguments))
        assert len(pages) > 1 and all(len(page[member]) <= 2 for page in pages)
        return [entry[name] for page in pages for entry in page[member]]

    found = names("list_pipelines", "PipelineSummaries", "PipelineName", SortBy="Name", SortOrder="Ascending")
    assert found == ["maskmaker", "p0", "p1", "p2", "p3", "p4"]
    found = names("list_pipeline_executions", "PipelineExecutionSummaries", "PipelineExecutionArn",
                  PipelineName="maskmaker")
    assert found == arns[::-1]
    found = names("list_pipeline_execution_steps", "PipelineExecutionSteps", "StepName", PipelineExecutionArn=arns[-1])
    assert found == ["RegisterModel", "CheckQuality", "Evaluate", "Train", "Preprocess"]
    found = names("list_pipeline_parameters_for_execution", "PipelineParameters", "Name", PipelineExecutionArn=arns[0])
    assert len(found) == len(set(found)) == len(json.loads(DEFINITION)["Parameters"])
    # Five by control, and the one that the execution registered into another group.
    found = names("list_model_packages", "ModelPackageSummaryList", "ModelPackageVersion", ModelPackageGroupName="one")
    assert found == [1, 2, 3, 4, 5]
    assert names("list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroupName") == [
        "one", "two", "three", "maskmaker"]


def test_a_page_token_belongs_to_its_request(stub, sagemaker):
    for number in range(3):
        create(sagemaker, f"p{number}")
    token = sagemaker.list_pipelines(MaxResults=1)["NextToken"]
    assert len(sagemaker.list_pipelines(NextToken=token, MaxResults=2)["PipelineSummaries"]) == 2
    assert code_and_text(sagemaker.list_pipelines, NextToken=token, SortBy="Name")[0] == "ValidationException"
    assert code_and_text(sagemaker.list_pipelines, NextToken="x")[0] == "ValidationException"


# Executions.

def test_an_execution_goes_through_all_states_to_a_registered_model(stub, sagemaker):
    create(sagemaker)
    stub.control(steps={"Train": {"metrics": {"validation:mIOU": 0.75}, "polls": 3},
                        "Evaluate": {"exit_message": "mIoU 0.75", "attempts": 2}, "Preprocess": {"cache_hit": True}})
    arn = start(sagemaker, PipelineExecutionDescription="first")
    execution, steps, seen = run_to_end(sagemaker, arn)
    assert execution["PipelineExecutionStatus"] == "Succeeded" and "FailureReason" not in execution
    assert execution["PipelineExperimentConfig"]["ExperimentName"] == "maskmaker"
    assert seen[:6] == [("Preprocess", "Starting"), ("Preprocess", "Succeeded"), ("Train", "Starting"),
                        ("Train", "Executing"), ("Train", "Executing"), ("Train", "Executing")]
    assert list(steps) == ["Preprocess", "Train", "Evaluate", "CheckQuality", "RegisterModel"]
    assert steps["Preprocess"]["CacheHitResult"]["SourcePipelineExecutionArn"].endswith("/execution/earlierone00")
    assert steps["CheckQuality"]["Metadata"] == {"Condition": {"Outcome": "True"}}
    assert steps["Evaluate"]["AttemptCount"] == 2
    job = sagemaker.describe_training_job(TrainingJobName=job_name(steps["Train"]))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    assert [entry["Status"] for entry in job["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Completed"]
    assert job["FinalMetricDataList"][0]["Value"] == 0.75 and job["HyperParameters"]["epochs"] == "10"
    evaluation = sagemaker.describe_processing_job(ProcessingJobName=job_name(steps["Evaluate"]))
    assert (evaluation["ProcessingJobStatus"], evaluation["ExitMessage"]) == ("Completed", "mIoU 0.75")
    model_input = evaluation["ProcessingInputs"][0]["S3Input"]["S3Uri"]
    assert model_input == job["ModelArtifacts"]["S3ModelArtifacts"]
    arn_of_package = steps["RegisterModel"]["Metadata"]["RegisterModel"]["Arn"]
    package = sagemaker.describe_model_package(ModelPackageName=arn_of_package)
    assert package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == model_input
    assert package["CustomerMetadataProperties"]["DataRevision"] == "9f86d081884c7d65"
    found = sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    assert found["PipelineDefinition"] == DEFINITION


def test_a_condition_that_is_false_ends_in_the_fail_step(stub, sagemaker):
    create(sagemaker)
    stub.control(steps={"CheckQuality": {"outcome": "False"}}, property_files={
        "EvaluationReport": {"segmentation_metrics": {"miou": {"value": 0.25}}, "gate": {"reason": "too low"}}})
    execution, steps, _ = run_to_end(sagemaker, start(sagemaker))
    assert execution["FailureReason"] == "Step failure: One or multiple steps failed."
    assert "RegisterModel" not in steps
    text = "The model is not registered: its mIoU is 0.25, the least is 0.6 (too low)"
    assert steps["RefuseModel"]["Metadata"]["Fail"]["ErrorMessage"] == steps["RefuseModel"]["FailureReason"] == text


def test_a_step_fails_with_its_job(stub, sagemaker):
    create(sagemaker)
    arn = start(sagemaker)
    stub.control(execution=arn, steps={"Train": {
        "status": "Failed", "failure_reason": "ClientError: out of memory",
        "job_failure_reason": "AlgorithmError: out of memory, exit code: 1"}})
    execution, steps, _ = run_to_end(sagemaker, arn)
    assert execution["PipelineExecutionStatus"] == "Failed" and list(steps) == ["Preprocess", "Train"]
    assert steps["Train"]["FailureReason"] == "ClientError: out of memory"
    job = sagemaker.describe_training_job(TrainingJobName=job_name(steps["Train"]))
    assert (job["SecondaryStatus"], job["FailureReason"]) == ("Failed", "AlgorithmError: out of memory, exit code: 1")


def test_a_plan_says_what_each_poll_finds(stub, sagemaker):
    create(sagemaker)
    stub.control(plan=[{"after_polls": 0, "step": "Preprocess", "status": "Executing"},
                       {"after_polls": 1, "step": "Train", "status": "Executing", "secondary_status": "Interrupted"},
                       {"after_polls": 2, "step": "Preprocess", "status": "Succeeded"},
                       {"after_polls": 3, "step": "Train", "status": "Failed", "failure_reason": "no capacity"}])
    arn = start(sagemaker)
    found = []
    for _ in range(4):
        steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn, SortOrder="Ascending")
        found.append([step["StepStatus"] for step in steps["PipelineExecutionSteps"]])
        if len(found) == 2:
            name = job_name(steps["PipelineExecutionSteps"][1])
            assert sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Interrupted"
    assert found == [["Executing"], ["Executing", "Executing"], ["Succeeded", "Executing"], ["Succeeded", "Failed"]]
    assert sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Failed"


def test_all_definitions_of_the_repository_run(stub, sagemaker):
    for number, file in enumerate(sorted((ROOT / "pipelines").glob("*.json"))):
        text = file.read_text()
        sagemaker.create_pipeline(PipelineName=f"p{number}", RoleArn=ROLE, PipelineDefinition=text)
        given = [{"Name": parameter["Name"], "Value": "1"} for parameter in json.loads(text)["Parameters"]
                 if "DefaultValue" not in parameter]
        arn = sagemaker.start_pipeline_execution(PipelineName=f"p{number}", PipelineParameters=given)
        execution, steps, _ = run_to_end(sagemaker, arn["PipelineExecutionArn"])
        assert execution["PipelineExecutionStatus"] == "Succeeded"
        for step in steps.values():
            if "TrainingJob" in step.get("Metadata", {}):
                sagemaker.describe_training_job(TrainingJobName=job_name(step))
            if "ProcessingJob" in step.get("Metadata", {}):
                sagemaker.describe_processing_job(ProcessingJobName=job_name(step))


def test_a_tuning_step_has_a_tuning_job(sagemaker):
    tuning = {"Name": "Tune", "Type": "Tuning", "Arguments": {"HyperParameterTuningJobConfig": {
        "Strategy": "Random", "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}}}}
    text = json.dumps({"Version": "2020-12-01", "Steps": [tuning]})
    sagemaker.create_pipeline(PipelineName="maskmaker", RoleArn=ROLE, PipelineDefinition=text)
    _, steps, _ = run_to_end(sagemaker, start(sagemaker, PipelineParameters=[]))
    job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=job_name(steps["Tune"]))
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["HyperParameterTuningJobConfig"]["Strategy"] == "Random"


def test_missing_jobs_and_executions(sagemaker):
    assert code_and_text(sagemaker.describe_training_job, TrainingJobName="none") == (
        "ValidationException", "Requested resource not found.")
    assert code_and_text(sagemaker.describe_processing_job, ProcessingJobName="none")[0] == "ValidationException"
    arn = "arn:aws:sagemaker:us-east-2:111122223333:pipeline/maskmaker/execution/abcdefghijkl"
    for call in (sagemaker.describe_pipeline_execution, sagemaker.list_pipeline_execution_steps,
                 sagemaker.stop_pipeline_execution, sagemaker.list_pipeline_parameters_for_execution):
        assert code_and_text(call, PipelineExecutionArn=arn)[0] == "ResourceNotFound"


@pytest.mark.parametrize("given, text", [
    ([], "DataRevision"),
    ([*REVISION, {"Name": "Nothing", "Value": "1"}], "Nothing"),
    ([*REVISION, {"Name": "Epochs", "Value": "ten"}], "Epochs"),
    ([*REVISION, {"Name": "Algorithm", "Value": "unet"}], "[fcn, psp, deeplab]"),
    ([*REVISION, {"Name": "UseSpotTraining", "Value": "yes"}], "UseSpotTraining"),
    ([*REVISION, *REVISION], "DataRevision"),
    ([{"Name": "DataRevision", "Value": ""}], "too short"),
])
def test_parameters_must_fit_the_definition(sagemaker, given, text):
    create(sagemaker)
    code, message = code_and_text(start, sagemaker=sagemaker, PipelineParameters=given)
    assert code == "ValidationException" and text in message


def test_an_execution_is_stopped_once(stub, sagemaker):
    create(sagemaker)
    arn = start(sagemaker)
    for _ in range(2):
        steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)
    first = sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=TOKEN)
    assert first == sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=TOKEN) | {
        "ResponseMetadata": first["ResponseMetadata"]}
    assert code_and_text(sagemaker.delete_pipeline, PipelineName="maskmaker")[0] == "ConflictException"
    statuses = [sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
                for _ in range(2)]
    assert statuses == ["Stopping", "Stopped"]
    name = job_name(steps["PipelineExecutionSteps"][0])
    assert sagemaker.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"] == "Stopped"
    code, text = code_and_text(sagemaker.stop_pipeline_execution, PipelineExecutionArn=arn)
    assert code == "ValidationException" and "Stopped" in text
