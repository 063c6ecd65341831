"""Measurements that back claims in the docs; each prints what it compared."""
