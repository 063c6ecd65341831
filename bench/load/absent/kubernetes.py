"""What kopf finds in the operator's image, where this package is not installed.

In the environment of tests it is, and importing it would make the process 20 MiB larger.
"""

raise ImportError("not in the operator's image")
