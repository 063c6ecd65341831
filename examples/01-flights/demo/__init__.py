"""Example 01 as a program: it plays the user, the clients and the passing of time.

Everloop does the rest. Nothing here talks to the operator: it applies the manifests beside this
folder, sends requests, stores labels as they arrive, and looks at what follows.
"""
