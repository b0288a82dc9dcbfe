"""What a pod needs that may be missing (images, Secrets), in the kubelet's words; plays nothing."""

from devcluster.objects import Obj


def pull_error(image: str, error: str) -> str:
    if error not in ("1", "true"):
        return error
    return (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": '
        f'failed to resolve reference "{image}": {image}: not found'
    )


def missing_volume(pod: Obj) -> tuple[str, str] | None:
    """Volume and Secret: this cluster has no Secrets, so each one that is not optional is missing."""
    for volume in pod["spec"].get("volumes", []):
        secret = volume.get("secret")
        if secret and not secret.get("optional"):
            return volume["name"], secret["secretName"]
    return None


def missing_env(pod: Obj) -> tuple[str, str] | None:
    """Container and Secret."""
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", []):
            secret = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if secret and not secret.get("optional"):
                return container["name"], secret["name"]
        for source in container.get("envFrom", []):
            secret = source.get("secretRef")
            if secret and not secret.get("optional"):
                return container["name"], secret["name"]
    return None
