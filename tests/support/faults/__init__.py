"""The fault harness: scenarios of the operator, disturbed at every request, and how they must end.

`plane` is the cluster without kubelets, `world` one namespace with one operator and what stands in
for the world around it, `proxy` is between operator and API server, `disturbances` are what goes
wrong there, `scenarios` what is worked on, `trial` runs one of them and compares how it ends.
"""
