"""The module verifies the signatures (SigV4) of requests with botocore's own signer."""

import datetime
import hashlib
import hmac
import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .errors import ServiceError

AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 +Credential=([^/,\s]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, *"
                           r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})")
LONGEST_SKEW = datetime.timedelta(minutes=5)
MISMATCH = ("The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.")


def default_keys():
    """The function returns the keys that the stub knows from the start: key -> secret, session token, expired."""
    return {"testing": {"secret": "testing"}}


def wrong_signature(message):
    """The function returns the error of a request whose signature cannot be right."""
    return ServiceError("InvalidSignatureException", message, 403)


def verify_request(keys, region, service, method, path, headers, body):
    """The function raises an error unless a known key signed the request for this region and service, just now."""
    authorization = headers.get("Authorization")
    if authorization is None:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    found = AUTHORIZATION.fullmatch(authorization.strip())
    if found is None:
        raise ServiceError("IncompleteSignatureException", f"Authorization header is malformed: {authorization!r}")
    key, day, signed_region, signed_service, signed_headers, signature = found.groups()
    if key not in keys:
        raise ServiceError("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
    check_session_token(keys[key], headers.get("X-Amz-Security-Token"))
    if signed_region != region:
        raise wrong_signature(f"Credential should be scoped to a valid region, not '{signed_region}'.")
    if signed_service != service:
        raise wrong_signature(f"Credential should be scoped to correct service: '{service}'.")
    date = headers.get("X-Amz-Date", "")
    check_date(date, day)
    names = signed_headers.split(";")
    check_signed_headers(names, headers)
    digest = headers.get("X-Amz-Content-SHA256")
    if digest is not None and digest != hashlib.sha256(body).hexdigest():
        raise wrong_signature("The value of x-amz-content-sha256 is not the SHA-256 of the body.")
    # The signer sees what the client signed: its headers in their values, and no others.
    request = AWSRequest(method, f"http://{headers.get('Host')}{path}", data=body,
                         headers={name: headers.get(name) for name in names if headers.get(name) is not None})
    request.context["timestamp"] = date
    signer = SigV4Auth(Credentials(key, keys[key]["secret"]), service, region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    if not hmac.compare_digest(signer.signature(text, request), signature):
        raise wrong_signature(MISMATCH)


def check_session_token(known, token):
    """The function raises an error if a session token expired, or is not the one that came with its key."""
    if token == "expired" or known.get("expired"):
        raise ServiceError("ExpiredTokenException", "The security token included in the request is expired")
    if "session_token" in known and token != known["session_token"]:
        raise ServiceError("UnrecognizedClientException", "The security token included in the request is invalid.", 403)


def check_date(date, day):
    """The function raises an error unless X-Amz-Date is of that day and within five minutes of now."""
    try:
        signed = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        raise ServiceError("IncompleteSignatureException", f"X-Amz-Date is malformed: {date!r}") from None
    if not date.startswith(day):
        raise wrong_signature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date.")
    now = datetime.datetime.now(datetime.timezone.utc)
    if abs(now - signed) > LONGEST_SKEW:
        past = signed < now
        raise wrong_signature(f"Signature {'expired' if past else 'not yet current'}: {date} is now "
                              f"{'earlier' if past else 'later'} than {now:%Y%m%dT%H%M%SZ}.")


def check_signed_headers(names, headers):
    """The function raises an error unless Host and all X-Amz headers are signed, in order of their names."""
    needed = {"host"} | {name.lower() for name in headers if name.lower().startswith("x-amz-")}
    unsigned = sorted(needed - set(names))
    if unsigned or names != sorted(names):
        raise wrong_signature(f"'{unsigned[0] if unsigned else names[0]}' must be a 'SignedHeader' in the "
                              "AWS Authorization.")
