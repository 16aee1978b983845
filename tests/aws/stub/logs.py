"""The module answers the operations of CloudWatch Logs."""

import re

from .account import NUMBER, cut_page, pick
from .errors import ServiceError

TOKEN = re.compile(r"([fb])/(\d{56})/([se])")
NAMES = ("nextToken", "limit")


def wrong(message):
    """The function returns the error of CloudWatch Logs for parameters that do not fit."""
    return ServiceError("InvalidParameterException", message)


def add_events(account, group, stream, events):
    """The function adds events to a stream, which it makes with its group if need be; a text gets the time of now."""
    now = int(account.now() * 1000)
    streams = account.log_groups.setdefault(group, {"creationTime": now, "streams": {}})["streams"]
    kept = streams.setdefault(stream, {"creationTime": now, "events": []})["events"]
    for number, event in enumerate(events):
        event = {"message": event} if isinstance(event, str) else event
        kept.append({"timestamp": now + number, "ingestionTime": now + number} | event)
    kept.sort(key=lambda event: event["timestamp"])


def find_group(account, values):
    """The function returns the name of the group that a request names in one of two ways, and its streams."""
    name, identifier = values.get("logGroupName"), values.get("logGroupIdentifier")
    if (name is None) == (identifier is None):
        raise wrong("Exactly one of logGroupName and logGroupIdentifier must be given.")
    name = name or re.sub(r"^arn:[^:]*:logs:[^:]*:[^:]*:log-group:", "", identifier).removesuffix(":*")
    if name not in account.log_groups:
        raise ServiceError("ResourceNotFoundException", "The specified log group does not exist.")
    return name, account.log_groups[name]["streams"]


def describe_streams(account, values):
    """The function lists the streams of a group by name or by their last events."""
    group, streams = find_group(account, values)
    by_time = values.get("orderBy") == "LastEventTime"
    if by_time and "logStreamNamePrefix" in values:
        raise wrong("Cannot order by LastEventTime with a logStreamNamePrefix.")
    found = []
    for name, stream in streams.items():
        if name.startswith(values.get("logStreamNamePrefix", "")):
            times = [event["timestamp"] for event in stream["events"]]
            arn = f"arn:aws:logs:{account.region}:{NUMBER}:log-group:{group}:log-stream:{name}"
            found.append({"logStreamName": name, "creationTime": stream["creationTime"], "arn": arn, "storedBytes": 0}
                         | ({"firstEventTimestamp": times[0], "lastEventTimestamp": times[-1],
                             "lastIngestionTime": stream["events"][-1]["ingestionTime"],
                             "uploadSequenceToken": "1"} if times else {}))
    found.sort(key=lambda stream: stream.get("lastEventTimestamp", 0) if by_time else stream["logStreamName"],
               reverse=values.get("descending", False))
    page, token = cut_page(account, "DescribeLogStreams", values, found, 50, NAMES, wrong)
    return {"logStreams": page} | ({"nextToken": token} if token else {})


def get_events(account, values):
    """The function returns a page of a stream's events, and tokens to go on in both directions.

    At an end of the stream the token that came in goes out again; events that arrive later follow it.
    """
    _, streams = find_group(account, values)
    if values["logStreamName"] not in streams:
        raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
    events = streams[values["logStreamName"]]["events"]
    inside = [number for number, event in enumerate(events)
              if values.get("startTime", 0) <= event["timestamp"] < values.get("endTime", 1 << 62)]
    forward, position, answered = read_token(values, events)
    limit = min(values.get("limit", 10000), account.settings["page_size"] or 10000)
    if forward:
        chosen = [number for number in inside if number >= position][:limit]
    else:
        chosen = [number for number in inside if number < position][-limit:]
    end = "s"
    if account.settings["empty_log_pages"] and not answered:
        chosen, end = [], "e"
    elif not chosen and "nextToken" in values:
        end = values["nextToken"][-1]
    first, last = (chosen[0], chosen[-1] + 1) if chosen else (position, position)
    return {"events": [pick(events[number], "timestamp", "message", "ingestionTime") for number in chosen],
            "nextForwardToken": f"f/{last:056}/{end}", "nextBackwardToken": f"b/{first:056}/{end}"}


def read_token(values, events):
    """The function returns the direction and the position at which a page begins, and whether it was answered empty."""
    from_head = values.get("startFromHead", False)
    if "nextToken" not in values:
        return from_head, 0 if from_head else len(events), False
    found = TOKEN.fullmatch(values["nextToken"])
    if found is None or int(found[2]) > len(events):
        raise wrong("The specified nextToken is invalid.")
    if found[1] == "f" and not from_head:
        raise wrong("With a nextForwardToken startFromHead must be true.")
    return found[1] == "f", int(found[2]), found[3] == "e"


def filter_events(account, values):
    """The function returns the events of a group's streams in order of time.

    Of filter patterns it knows words that must all occur, with or without double quotes.
    """
    _, streams = find_group(account, values)
    names, prefix = values.get("logStreamNames"), values.get("logStreamNamePrefix")
    if names and prefix:
        raise wrong("logStreamNames and logStreamNamePrefix cannot be given together.")
    if names and not set(names) <= set(streams):
        raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
    pattern = values.get("filterPattern", "")
    if re.search(r"[{}\[\]?%=]|(^|\s)-", pattern):
        raise wrong("The stub's filter patterns are words only.")
    words = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', pattern)]
    found = []
    for name, stream in streams.items():
        if (name in names if names else name.startswith(prefix or "")):
            for number, event in enumerate(stream["events"]):
                if values.get("startTime", 0) <= event["timestamp"] <= values.get("endTime", 1 << 62) and all(
                        word in event["message"] for word in words):
                    found.append({"logStreamName": name, "eventId": f"{event['timestamp']:030}{number:026}"} | event)
    found.sort(key=lambda event: event["timestamp"], reverse=not values.get("startFromHead", True))
    page, token = cut_page(account, "FilterLogEvents", values, found, 10000, NAMES, wrong)
    return {"events": page, "searchedLogStreams": []} | ({"nextToken": token} if token else {})


OPERATIONS = {"DescribeLogStreams": describe_streams, "GetLogEvents": get_events, "FilterLogEvents": filter_events}
