"""Typed resources: what users write, what the operator answers; the CRDs are generated from them."""
