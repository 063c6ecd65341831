# Images: docs/images.md says what each holds. Tags follow from the content, so nothing is done twice.
.PHONY: images images-push images-info images-clean
images: ## build the images (operator, runtime, router)
	@python3 -m devcluster.images build

images-push: ## build and push them to the registry of the dev cluster NAME
	@python3 -m devcluster.images push --name $(NAME)

images-info: ## the references to use in a chart's values, as JSON
	@python3 -m devcluster.images info --name $(NAME)

images-clean: ## forget the built images and the base, to free the cache folder
	@python3 -m devcluster.images clean
