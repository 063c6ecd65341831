# Example 01, the demo. NAME chooses the cluster; SPEEDUP how much faster time runs in it.
SPEEDUP ?= 8640
DEMO := PYTHONPATH=.:examples/01-flights $(BIN)/python -m demo --name $(NAME)

.PHONY: install demo demo-clean
install: ## build the images and install the chart into the dev cluster (NAME=dev, SPEEDUP=8640)
	@$(CLUSTER_PYTHON) -m devcluster.install --name $(NAME) --speedup $(SPEEDUP)

demo: venv cluster-up install ## the life of a model on real flights, from nothing to a promoted successor
	@$(DEMO) $(DEMO_OPTIONS)

demo-clean: venv ## remove what the demo made (the cluster stays)
	@$(DEMO) --clean
