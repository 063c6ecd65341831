"""A local Kubernetes to develop and test Everloop on: `python3 -m devcluster --help`.

It needs nothing but Python's standard library, so it runs before any environment exists.
Where a Docker engine answers, the cluster is kind's; elsewhere it is built from its own
processes in a network namespace that has no way out (docs/dev-cluster.md).
"""
