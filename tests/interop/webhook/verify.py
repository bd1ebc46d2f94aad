"""Verifies one POST with the public library: {secret, headers, body} on standard input. Prints the
event's type when it holds."""

import json
import sys

from standardwebhooks import Webhook

post = json.load(sys.stdin)
event = Webhook(post["secret"]).verify(post["body"], post["headers"])
sys.stdout.write(event["type"])
