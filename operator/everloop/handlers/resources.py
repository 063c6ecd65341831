"""Every resource that our kinds read or write, named once."""

from __future__ import annotations

from everloop import contract
from everloop.handlers.kind import Resource

EXPERIMENTS = Resource(contract.GROUP, contract.VERSION, "experiments", "Experiment")
TRAINING_RUNS = Resource(contract.GROUP, contract.VERSION, "trainingruns", "TrainingRun")
MODEL_VERSIONS = Resource(contract.GROUP, contract.VERSION, "modelversions", "ModelVersion")
DEPLOYMENTS = Resource(contract.GROUP, contract.VERSION, "deployments", "Deployment")  # mldep
MONITORS = Resource(contract.GROUP, contract.VERSION, "monitors", "Monitor")

JOBS = Resource("batch", "v1", "jobs", "Job")
# Of a pod that has succeeded nothing is asked: its report has come before. Most pods of a big
# cluster are such, and pods are the largest of all objects to list.
PODS = Resource("", "v1", "pods", "Pod", fields="status.phase!=Succeeded")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SERVICES = Resource("", "v1", "services", "Service")
APPS_DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
PROMETHEUS_RULES = Resource("monitoring.coreos.com", "v1", "prometheusrules", "PrometheusRule")
POD_MONITORS = Resource("monitoring.coreos.com", "v1", "podmonitors", "PodMonitor")
