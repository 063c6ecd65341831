"""Two hours of the whole loop on the dev cluster: one run per need, and nothing that grows.

`python -m bench.soak` keeps a sample a minute and a line a cycle, and judges them; see __main__.py.
"""
