"""The MLServer runtime of Everloop: digest check, signature check, monitoring.

`python -m everloop_server` serves one ModelVersion; `python -m everloop_server.score` scores a
table with the same loader, for the training runner. docs/model-server.md is its user's page.
"""

import os

# Numeric libraries start a thread per core of the node, however few the pod may use. They read this
# when they are first imported, so it is here.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
