"""Makes the pod of a Job from its template, with what admission and the API server add; stores nothing."""

import copy
import uuid

from devcluster import clock, podstatus
from devcluster.objects import JOB_TRACKING, Obj, name_of, namespace_of, random_suffix, uid_of


def pod_for(job: Obj, at: float) -> Obj:
    """A new pod of the Job's template, with the fields that admission and the API server add."""
    template = job["spec"]["template"]
    metadata = template.get("metadata") or {}
    spec = copy.deepcopy(template["spec"])
    account = spec.pop("serviceAccountName", None) or "default"
    spec.pop("serviceAccount", None)
    lost_node = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    spec |= {
        "serviceAccountName": account,
        "serviceAccount": account,
        "tolerations": [
            *spec.get("tolerations", []),
            {"key": "node.kubernetes.io/not-ready", **lost_node},
            {"key": "node.kubernetes.io/unreachable", **lost_node},
        ],
        "priority": 0,
        "enableServiceLinks": spec.get("enableServiceLinks", True),
        "preemptionPolicy": "PreemptLowerPriority",
    }
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": name_of(job),
        "uid": uid_of(job),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    # A pod's name has 63 characters at most; the Job's part of it is cut, as the API server cuts it.
    stem = name_of(job)[:57] + "-"
    described = {
        "name": stem + random_suffix(),
        "generateName": name_of(job) + "-",
        "namespace": namespace_of(job),
        "uid": str(uuid.uuid4()),
        "generation": 1,
        "creationTimestamp": clock.stamp(at),
        "labels": metadata.get("labels"),
        "annotations": metadata.get("annotations"),
        "ownerReferences": [reference],
        "finalizers": [JOB_TRACKING],
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {name: value for name, value in described.items() if value},
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": podstatus.qos_class(spec)},
    }
