# The dev cluster (docs/dev-cluster.md). NAME chooses which; two names are two clusters.
CLUSTER_PYTHON ?= python3
DEVCLUSTER := $(CLUSTER_PYTHON) -m devcluster

.PHONY: cluster-up cluster-status cluster-down test-cluster
cluster-up: ## start the dev cluster, or find it running (NAME=dev; BARE=1 without Prometheus and S3)
	@$(DEVCLUSTER) up --name $(NAME) $(if $(BARE),--bare)

cluster-status: ## node, DNS, registry and pods of the dev cluster (NAME=dev)
	@$(DEVCLUSTER) status --name $(NAME)

cluster-down: ## take the dev cluster down and leave nothing behind (NAME=dev)
	@$(DEVCLUSTER) down --name $(NAME)

test-cluster: venv ## kill the dev cluster's start half way, and compare the machine before and after
	@$(BIN)/pytest tests/devcluster
