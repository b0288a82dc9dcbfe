"""A stand-in for the part of the Kubernetes API that Jobs need; not Kubernetes, nothing of the portal."""
