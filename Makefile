# ced: what a person types. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

SEEDS ?= 200
# Fresh seeds at each call; FROM=1 for those of the tests.
FROM ?= $(shell date +%s)000
JOBS ?= $(shell nproc)
RELEASE := --configuration release --scratch-path .build-release
# A scratch path of its own: it shares nothing with the others.
STATIC := --configuration release --static-swift-stdlib --scratch-path .build-static

# Programs say of which commit they are built.
ifndef CED_COMMIT
CED_COMMIT := $(shell ops/commit)
endif
export CED_COMMIT

.PHONY: help bootstrap build release demo test lint format simulate explore mutants bench clean dist dist-check rotation-300

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

bootstrap: ## install what is missing from Debian (says what)
	@ops/bootstrap

build: bootstrap ## debug build of everything
	swift build

release: bootstrap ## release build of ced and cea in .build-release
	swift build $(RELEASE) --product ced
	swift build $(RELEASE) --product cea

dist: bootstrap ## ced, cea and units to carry to other hosts, in .build-static/dist; Swift is linked in
	swift build $(STATIC) --product ced
	swift build $(STATIC) --product cea
	rm -rf .build-static/dist
	mkdir .build-static/dist
	strip -o .build-static/dist/ced .build-static/release/ced
	strip -o .build-static/dist/cea .build-static/release/cea
	cp -r ops/systemd ops/haproxy docs .build-static/dist/

dist-check: dist ## the same, then tried: what it needs, what it says, a cluster of it
	@ops/dist-check

rotation-300: build ## the check of the rotation with 300 agents; `make test` has 60
	@CHECK_DIR=.demo/rotation Tests/EndToEndTests/checks/rotation .build/debug

demo: release ## three members, agents, a killed leader: the main job before your eyes (DEMO_BREAK=1 must fail, KEEP=1 leaves it running)
	@ops/demo .build-release/release

test: bootstrap ## build and pass all tests
	@ops/test

lint: bootstrap ## formatting and tidiness
	@ops/lint

format: ## format our sources
	swift format format --in-place --recursive Sources Tests Package.swift

simulate: bootstrap ## whole members under faults: make simulate SEEDS=1000, or SEED=42 for one with its trace
	swift build $(RELEASE) --product ced-sim
ifdef SEED
	.build-release/release/ced-sim --seed $(SEED) --trace
else
	.build-release/release/ced-sim --from $(FROM) --seeds $(SEEDS) --workers $(JOBS)
endif

explore: bootstrap ## every order of events that three members may meet, as far as 100 seconds go
	swift build $(RELEASE) --product ced-explore
	.build-release/release/ced-explore --states 1500000 --seconds 100

mutants: bootstrap ## break the code on purpose and see an invariant fire (ONLY=name, EXPLORE=1 by the search, TABLE=docs/proof.md)
	@ops/mutants $(if $(EXPLORE),--explore) $(if $(ONLY),--only $(ONLY)) $(if $(TABLE),--table $(TABLE))

bench: release ## fail-over and first-run times, and quiet under load
	@ops/bench/failover .build-release/release
	@ops/bench/first-run .build-release/release
	@ops/bench/quiet .build-release/release

clean: ## remove what was built
	rm -rf .build .build-release .build-static .demo
