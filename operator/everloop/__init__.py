"""Everloop: the whole life of a machine-learning model as Kubernetes objects."""

__version__ = "0.1.0"
