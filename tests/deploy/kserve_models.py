"""Reads objects through KServe's own models; run by the interpreter of .venv-oip.

Standard input has the objects as JSON; what comes out lacks the fields that no model knows.
"""

import json
import re
import sys

import kserve.models
from kubernetes.client import ApiClient, models

KINDS = {
    "ClusterServingRuntime": "V1alpha1ServingRuntimeSpec",
    "InferenceService": "V1beta1InferenceServiceSpec",
}


def read(value, kind):
    """Return a value as a type of OpenAPI has it: `int`, `list[V1Volume]`, `dict(str, str)`."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        return [read(item, inner[1]) for item in value]
    if inner := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {key: read(item, inner[1]) for key, item in value.items()}
    if known := getattr(kserve.models, kind, None):
        names = {wire: name for name, wire in known.attribute_map.items()}
        kept = {
            wire: read(v, known.openapi_types[names[wire]])
            for wire, v in value.items()
            if wire in names
        }
        known(**{names[wire]: item for wire, item in kept.items()})  # it checks what is required
        return kept
    if known := getattr(models, kind, None):  # Kubernetes' own
        return ApiClient().sanitize_for_serialization(known.from_dict(value))
    assert type(value).__name__ == kind, f"{value!r} is no {kind}"
    return value


for one in json.load(sys.stdin):
    print(json.dumps({**one, "spec": read(one["spec"], KINDS[one["kind"]])}))
