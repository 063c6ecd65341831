"""The only Kubernetes I/O: cache, apply, status, lease."""
