"""Validates events, one per line of a file, against the schemas of the description. Every event schema must occur."""

import json
import sys

import jsonschema_rs

document = json.load(open(sys.argv[1], encoding="utf-8"))
schema = {"$ref": "#/components/schemas/Event", "components": document["components"]}
validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
seen = set()
for line in open(sys.argv[2], encoding="utf-8"):
    event = json.loads(line)
    errors = [f"{error.message} at {error.instance_path}" for error in validator.iter_errors(event)]
    assert not errors, f"{line}: {errors}"
    seen.add(event["type"])
missing = set(document["components"]["schemas"]["EventKind"]["enum"]) - seen
assert not missing, f"not seen: {missing}"
