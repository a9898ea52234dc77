"""What Kubernetes takes of the fields that a manifest of ours has, and no other field: JobSet v1alpha2, Job, Pod.

Derived from the custom resource definition of JobSet 0.11 and the OpenAPI of Kubernetes 1.37, whose names, types and
limits these are. A field that we begin to write has to be added here.
"""

from typing import Any

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
SUBDOMAIN = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"}
QUALIFIED = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL = {"type": "string", "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"}
QUANTITY = {"type": "string", "pattern": "^[1-9][0-9]*$"}  # an extended resource is whole


def mapping(key: str, value: Any) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {key: value}, "additionalProperties": False}


def fields(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def listed(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


VARIABLE = {"type": "string", "pattern": "^[-._a-zA-Z][-._a-zA-Z0-9]*$"}
SECRET = fields("secretKeyRef", secretKeyRef=fields("name key", name=SUBDOMAIN, key=TEXT))
CONTAINER = fields(
    "name image command",
    name=NAME,
    image=TEXT,
    command=listed({"type": "string"}),
    # `value` is what a secret would stand in as text: it has no place here.
    env=listed(fields("name valueFrom", name=VARIABLE, valueFrom=SECRET)),
    resources=fields("limits", limits=mapping(QUALIFIED, QUANTITY)),
    securityContext=fields(
        "",
        allowPrivilegeEscalation={"type": "boolean"},
        capabilities=fields("", drop=listed(TEXT)),
    ),
)
POD = fields(
    "restartPolicy containers",
    restartPolicy={"enum": ["Never", "OnFailure"]},  # of a pod of a Job
    containers=listed(CONTAINER),
    serviceAccountName=SUBDOMAIN,
    automountServiceAccountToken={"type": "boolean"},
    nodeSelector=mapping(QUALIFIED, LABEL),
)
JOB = fields(
    "template",
    parallelism=COUNT,
    completions=COUNT,
    completionMode={"enum": ["Indexed", "NonIndexed"]},
    backoffLimit=COUNT,
    template=fields("spec", spec=POD),
)
REPLICATED = fields("name template", name=NAME, replicas=COUNT, template=fields("spec", spec=JOB))
JOBSET = fields(
    "apiVersion kind metadata spec",
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata=fields("name", name=NAME, labels=mapping(QUALIFIED, LABEL)),
    spec=fields("replicatedJobs", replicatedJobs=listed(REPLICATED)),
)
