"""The module holds the error that every operation raises, and builders of Amazon's texts."""

# Codes that the service model of SageMaker declares; their text stands in "Message", that of all others in "message".
DECLARED = {"ConflictException", "ResourceNotFound", "ResourceLimitExceeded", "ResourceInUse"}


class ServiceError(Exception):
    """An error carries the code, the text and the HTTP status of a refusal."""

    def __init__(self, code, message, status=400):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status

    def body(self):
        """The method returns the JSON object that Amazon's services send for an error."""
        return {"__type": self.code, "Message" if self.code in DECLARED else "message": self.message}


def invalid(message):
    """The function returns SageMaker's ValidationException with a text."""
    return ServiceError("ValidationException", message)


def missing(message):
    """The function returns SageMaker's ResourceNotFound with a text."""
    return ServiceError("ResourceNotFound", message)


def denied(service, operation, resource):
    """The function returns the text with which IAM denies an operation on a resource."""
    action = f"{service}:{operation}"
    return (f"User: arn:aws:sts::111122223333:assumed-role/annotator/me is not authorized to perform: {action} "
            f"on resource: {resource} because no identity-based policy allows the {action} action")
