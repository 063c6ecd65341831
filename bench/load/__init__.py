"""Thousands of TrainingRuns on fake nodes: throughput, rest, start, fairness of namespaces.

`python -m bench.load` prints each figure beside its baseline of the same run; see __main__.py.
"""
