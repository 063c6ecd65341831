"""Pure builders: typed objects in, dicts out; one build_x per object."""
