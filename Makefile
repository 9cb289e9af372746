# Thin names for scripts/; each does all of its own set-up. ARGS="..." is passed on.

ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run demo test lint bench bench-gossip image clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: ## set up, start a Docker engine if there is none (DOCKER=no: do not), and run the daemon; ARGS="--ttl 5 host1"
	@exec scripts/run $(ARGS)

demo: ## as root: three hosts with Docker engines on this machine, each step shown and checked
	@exec scripts/demo $(ARGS)

test: ## set up, lint, and run every test; as root for those with namespaces and Docker engines; ARGS="-k name"
	@exec scripts/test $(ARGS)

lint: ## formatting, lint, types, import contracts
	@exec scripts/lint

bench: ## measure against other DNS servers in the same run
	@exec scripts/bench $(ARGS)

bench-gossip: ## measure on a simulator how fast, cheaply and surely peers agree; exits with 1 when a number is missed
	@exec scripts/bench gossip $(ARGS)

image: ## build the container image (BASE=... for another base image)
	@exec scripts/image $(ARGS)

clean: ## remove .venv, caches, builds and leftovers of killed test runs
	@exec scripts/clean
