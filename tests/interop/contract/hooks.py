"""What schemathesis cannot know: ids of things that are there, and a URL that may be posted to."""

import json
import os
import re
import zlib

import schemathesis

THERE = json.loads(os.environ.get("ROOST_THERE", "{}"))
ID = re.compile(r"^(ten|key|ins|msg|whk|evt|dlv)_[0-7][0-9A-HJKMNP-TV-Z]{25}(_[0-9]+)?$")


def there(value):
    """The same with most ids of nothing made ids of something."""
    if isinstance(value, dict):
        return {key: there(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [there(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value == "https://hooks.example/roost":
        return THERE["url"]
    found = ID.match(value)
    if found and zlib.crc32(value.encode()) % 8:
        return THERE.get(found.group(1), value)
    return value


@schemathesis.hook
def before_call(ctx, case, kwargs):
    # What is deleted would be missing from then on.
    if case.method != "DELETE":
        case.path_parameters = there(case.path_parameters)
        if not isinstance(case.body, schemathesis.core.NotSet):
            case.body = there(case.body)


@schemathesis.hook
def filter_case(ctx, case):
    # Headers that are not known are nobody's fault.
    return "x-schemathesis-unknown-property" not in (case.headers or {})


@schemathesis.deserializer("image/png", "image/svg+xml")
def picture(ctx, response):
    return response.content.decode("latin-1")
