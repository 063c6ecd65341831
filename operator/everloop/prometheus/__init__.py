"""The only Prometheus I/O, and the PromQL as named texts."""
