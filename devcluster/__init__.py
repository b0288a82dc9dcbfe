"""A stand-in for the part of the Kubernetes API that Jobs need; it is not Kubernetes and imports nothing of the portal."""
