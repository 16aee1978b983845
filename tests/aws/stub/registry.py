"""The module answers the operations of the model registry."""

from . import model
from .account import USER, page_answer, pick, run_once, sort_entries
from .errors import invalid

DEFAULT_CONTAINER = {"Image": "111122223333.dkr.ecr.us-east-2.amazonaws.com/maskmaker:0.1.0",
                     "ModelDataUrl": "s3://amzn-s3-demo-bucket/maskmaker/model.tar.gz"}


def add_group(account, name, description=None):
    """The function adds a group of model packages, unless it exists."""
    if name not in account.groups:
        account.groups[name] = {
            "ModelPackageGroupName": name, "ModelPackageGroupArn": account.arn(f"model-package-group/{name}"),
            "CreationTime": account.now(), "CreatedBy": USER, "ModelPackageGroupStatus": "Completed",
        } | ({"ModelPackageGroupDescription": description} if description else {})
    return account.groups[name]


def register_model(account, arguments):
    """The function adds the next version to a group, which it makes if need be, and returns the package's ARN."""
    group = arguments["ModelPackageGroupName"]
    add_group(account, group)
    version = 1 + max((package["ModelPackageVersion"] for package in account.packages.values()
                       if package["ModelPackageGroupName"] == group), default=0)
    arn = account.arn(f"model-package/{group}/{version}")
    members = model.find_operation("sagemaker", "DescribeModelPackage").output_shape.members
    now = account.now()
    # As the real service does, a version is called by its group's name.
    account.packages[arn] = {
        "ModelPackageName": group, "InferenceSpecification": {
            "Containers": [DEFAULT_CONTAINER], "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["image/png"]},
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "ModelPackageStatus": "Completed", "ModelApprovalStatus": "PendingManualApproval",
        "CreationTime": now, "CreatedBy": USER,
    } | {name: value for name, value in arguments.items() if name in members} | {
        "ModelPackageGroupName": group, "ModelPackageVersion": version, "ModelPackageArn": arn}
    return arn


def find_group(account, name):
    """The function returns the group of a name or an ARN."""
    arn = name if name.startswith("arn:") else account.arn(f"model-package-group/{name}")
    for group in account.groups.values():
        if group["ModelPackageGroupArn"] == arn:
            return group
    raise invalid(f"ModelPackageGroup {arn} does not exist.")


def find_package(account, name):
    """The function returns the package of a name or an ARN."""
    arn = name if name.startswith("arn:") else account.arn(f"model-package/{name}")
    if arn not in account.packages:
        raise invalid(f"ModelPackage {arn} does not exist.")
    return account.packages[arn]


def matches(values, entry, name):
    """The function returns true if an entry's name and its time of creation pass a listing's filters."""
    return (values.get("NameContains", "").lower() in entry[name].lower()
            and values.get("CreationTimeAfter", 0) <= entry["CreationTime"] <= values.get("CreationTimeBefore", 1e12))


def list_groups(account, values):
    """The function lists groups, the oldest first by default."""
    found = [group for group in account.groups.values() if matches(values, group, "ModelPackageGroupName")]
    keys = {"Name": "ModelPackageGroupName", "CreationTime": "CreationTime"}
    found = sort_entries(values, found, keys, "CreationTime", "Ascending")
    summaries = [{name: value for name, value in group.items() if name != "CreatedBy"} for group in found]
    return page_answer(account, "ListModelPackageGroups", values, "ModelPackageGroupSummaryList", summaries, default=10)


def describe_group(account, values):
    """The function describes a group."""
    return find_group(account, values["ModelPackageGroupName"])


def list_packages(account, values):
    """The function lists the packages of a group, the oldest first by default.

    Without a group and with the default type the service lists unversioned packages, which the stub never has.
    """
    group = values.get("ModelPackageGroupName")
    if group is not None:
        group = find_group(account, group)["ModelPackageGroupName"]
    unversioned = values.get("ModelPackageType", "Versioned" if group else "Unversioned") == "Unversioned"
    found = [package for package in account.packages.values() if not unversioned
             and group in (None, package["ModelPackageGroupName"]) and matches(values, package, "ModelPackageName")
             and values.get("ModelApprovalStatus") in (None, package["ModelApprovalStatus"])]
    keys = {"Name": "ModelPackageName", "CreationTime": "CreationTime"}
    found = sort_entries(values, found, keys, "CreationTime", "Ascending")
    summaries = [pick(package, "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn",
                      "ModelPackageDescription", "CreationTime", "ModelPackageStatus", "ModelApprovalStatus")
                 for package in found]
    return page_answer(account, "ListModelPackages", values, "ModelPackageSummaryList", summaries, default=10)


def describe_package(account, values):
    """The function describes a package, which a name with a version, or an ARN, names."""
    return find_package(account, values["ModelPackageName"])


def update_package(account, values):
    """The function changes a package's approval, the text of the approval, and its properties."""
    def update():
        package = find_package(account, values["ModelPackageArn"])
        package.update(pick(values, "ModelApprovalStatus", "ApprovalDescription", "ModelLifeCycle", "SourceUri",
                            "InferenceSpecification", "ModelCard"))
        properties = package.get("CustomerMetadataProperties", {}) | values.get("CustomerMetadataProperties", {})
        for key in values.get("CustomerMetadataPropertiesToRemove", []):
            properties.pop(key, None)
        if len(properties) > 50:
            raise invalid("A model package can have at most 50 customer metadata properties.")
        package.pop("CustomerMetadataProperties", None)
        if properties:
            package["CustomerMetadataProperties"] = properties
        package["LastModifiedTime"], package["LastModifiedBy"] = account.now(), USER
        return {"ModelPackageArn": values["ModelPackageArn"]}
    return run_once(account, "UpdateModelPackage", values.get("ClientToken"), values, update)


OPERATIONS = {
    "ListModelPackageGroups": list_groups, "DescribeModelPackageGroup": describe_group,
    "ListModelPackages": list_packages, "DescribeModelPackage": describe_package,
    "UpdateModelPackage": update_package,
}
