# `make help` lists the targets; CI runs these targets and nothing else.

SHELL := bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# All modules of this repository have the same compile flags, so that hack/controlplane, hack/tools
# and the product share the Go build cache. Only `race` needs cgo.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)

# The folder of etcd, kube-apiserver and kubectl: KUBEBUILDER_ASSETS if it is set, else the folder
# of those built here.
ASSETS := $(abspath $(or $(KUBEBUILDER_ASSETS),bin/k8s))
KUBECTL ?= $(or $(shell command -v kubectl),$(ASSETS)/kubectl)
TOOL := go tool -modfile=hack/tools/go.mod
LINTER := go tool -modfile=hack/lint/go.mod golangci-lint-kube-api-linter

# How many suites with an API server run at the same time, the longest ones first. They mostly wait;
# each needs about 1 GB.
SUITES ?= 4

# Collect garbage less often in the API servers and processes of a suite: this saves a fifth of their
# CPU time. Above 1 GiB they collect it as often as needed.
SUITE_ENV := GOGC=400 GOMEMLIMIT=1GiB KUBEBUILDER_ASSETS="$(ASSETS)"

FUZZ ?= .
FUZZTIME ?= 10s
BENCH ?= .

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)


.PHONY: generate
generate: ## Write all generated files: deep copies, CRDs, the output of `go generate`, and the Helm chart's part that follows from config/.
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(TOOL) controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	go run ./hack/crdtypes config/crd/bases internal/decode/zz_generated.schema.go
	go generate ./...
	go run ./hack/chart .

.PHONY: verify
verify: ## Fail, with the difference, if `make generate` would change anything.
	@hack/verify-generated.sh

.PHONY: lint
lint: ## Check format, code (golangci-lint), API types (kube-api-linter), imports, versions, prose, alerts (promtool), vulnerabilities.
	@unformatted=$$(gofmt -l .); if [[ -n $$unformatted ]]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(LINTER) run ./...
	$(LINTER) run -c .golangci-api.yml ./api/...
	hack/verify-imports.sh
	hack/verify-versions.sh
	hack/verify-files.sh
	hack/verify-prose.sh header width words
	hack/verify-alerts.sh
	hack/verify-vulnerabilities.sh


.PHONY: test
test: test-unit ## Run all tests: first those without a server, then the stories on a real API server.
	@$(MAKE) controlplane
	$(SUITE_ENV) hack/gotest.sh -p $(SUITES) -timeout 30m -- $(addprefix ./test/,stories tenants policy restart unreadable) ./test/...

.PHONY: test-crash
test-crash: controlplane ## Three times as many crashes, lost replies and refusals as in `test` (GOSHAWK_CRASH=every: all).
	$(SUITE_ENV) GOSHAWK_CRASH="$(or $(GOSHAWK_CRASH),many)" hack/gotest.sh -timeout 60m -- ./test/crash ./internal/agent

.PHONY: test-unit
test-unit: ## Run the tests without a server: rules, device API, devices, controllers on a fake client.
	@hack/gotest.sh -timeout 20m -- $$(go list ./... | grep -v '/test/')

.PHONY: race
race: ## Run the tests without a server under the race detector (needs a C compiler).
	@if ! command -v "$$(go env CC | cut -d' ' -f1)" >/dev/null; then \
		echo "race: skipped, because the race detector needs a C compiler and there is none: install gcc or clang"; \
	else \
		CGO_ENABLED=1 hack/gotest.sh -race -timeout 30m -- $$(go list ./... | grep -v '/test/'); \
	fi

.PHONY: fuzz
fuzz: ## Run every fuzz test, one after the other, each for FUZZTIME=10s (FUZZ=regexp of their names).
	@FUZZTIME=$(FUZZTIME) FUZZ='$(FUZZ)' hack/fuzz.sh

.PHONY: bench
bench: controlplane ## Run the benchmarks: of the rules, then of whole rollouts on a real API server (BENCH=regexp, GOSHAWK_BENCH_TARGETS=10000).
	@packages=$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -r -n 1 dirname | sort -u | grep -v '^\./test/' || true); \
		if [[ -n $$packages ]]; then go test -run '^$$' -bench '$(BENCH)' -benchmem $$packages; fi
	KUBEBUILDER_ASSETS="$(ASSETS)" go test -run '^$$' -bench '$(BENCH)' -benchtime=1x -p 1 -timeout 120m -v ./test/bench/...


.PHONY: build
build: ## Build bin/manager, bin/devicesim, bin/goshawk-agent and the kubectl plugin, bin/kubectl-goshawk.
	go build -o bin/manager .
	go build -o bin/devicesim ./cmd/devicesim
	go build -o bin/goshawk-agent ./cmd/goshawk-agent
	go build -o bin/kubectl-goshawk ./cmd/kubectl-goshawk

.PHONY: image
image: ## Build the images without a container engine: dist/goshawk-image.tar, which is pushed with IMAGE=NAME:TAG, and dist/goshawk-agent-image.tar.
	@mkdir -p dist
	go run ./hack/release image dist/goshawk-image.tar dist/goshawk-agent-image.tar
	@if [[ -n "$(IMAGE)" ]]; then go run ./hack/release push dist/goshawk-image.tar "$(IMAGE)"; fi

.PHONY: dist
dist: ## Write the files of a release to dist/: install.yaml, crds.yaml, chart, images, manager, agent, kubectl plugin, SHA256SUMS.
	@rm -rf dist && mkdir -p dist
	go run ./hack/krew "$$(<VERSION)" dist
	go run ./hack/release dist dist

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver and kubectl into bin/k8s: once, 5 to 20 minutes.
	@hack/build-controlplane.sh

# With KUBECONFIG on the command line, `make up` works on that cluster. A KUBECONFIG of the
# environment does not count, so that it is not changed by mistake.
.PHONY: up
ifeq ($(origin KUBECONFIG),command line)
up: deploy
else
up: controlplane build ## Start etcd, kube-apiserver and Goshawk on loopback, state in .goshawk/; or deploy to a cluster (KUBECONFIG=FILE IMAGE=NAME:TAG).
	@KUBEBUILDER_ASSETS="$(ASSETS)" hack/up.sh
endif

.PHONY: down
down: ## Stop what `make up` started; CLEAN=1 also removes its data.
	@CLEAN="$(CLEAN)" hack/down.sh

.PHONY: demo
demo: export GOSHAWK_MANAGER_FLAGS += --ddi-poll-interval=4s
demo: up ## Show a fleet of simulated devices, a rollout, and a stop in the terminal.
	@go build -o bin/goshawk-demo ./cmd/goshawk-demo
	@$(ASSETS)/kubectl --kubeconfig=.goshawk/kubeconfig apply --server-side --force-conflicts -k config/samples >/dev/null
	@echo "samples: applied to namespace fleet"
	@KUBECONFIG="$(CURDIR)/.goshawk/kubeconfig" KUBEBUILDER_ASSETS="$(ASSETS)" bin/goshawk-demo --device-api="http://127.0.0.1:$(or $(GOSHAWK_DEVICE_API_PORT),8080)" --mqtt="127.0.0.1:$(or $(GOSHAWK_MQTT_PORT),1883)"

.PHONY: docs-check
docs-check: controlplane build ## Run the shell blocks of the documents that are marked to be run.
	@KUBEBUILDER_ASSETS="$(ASSETS)" hack/docs-check.sh

.PHONY: site
site: ## Build the documentation site into site/ (needs python3 and its package registry the first time).
	@test -x bin/site-python/bin/mkdocs || { python3 -m venv bin/site-python && bin/site-python/bin/pip install -q --retries 5 -r hack/site/requirements.txt; }
	NO_MKDOCS_2_WARNING=1 bin/site-python/bin/mkdocs build -q

.PHONY: screenshots
screenshots: ## Write the pictures of the documentation into docs/images (needs Debian's chromium).
	@mkdir -p docs/images
	GOSHAWK_REQUIRE_CHROMIUM=1 go test ./internal/console/browser -count=1 -run '^TestScreenshots$$' -args -screenshots "$(CURDIR)/docs/images"

.PHONY: clean
clean: ## Stop all processes and remove bin/ and .goshawk/ (Go's cache stays, so the next `make controlplane` is short).
	@CLEAN=1 hack/down.sh
	rm -rf bin coverage site


.PHONY: kubectl
kubectl:
	@if ! command -v "$(KUBECTL)" >/dev/null; then $(MAKE) controlplane; fi

# The next targets work on the cluster of CONTEXT=NAME in your kubeconfig. Without it they ask, or
# end if there is no terminal.
DEPLOY = KUBECTL="$(KUBECTL)" CHOSEN="$(filter command,$(origin KUBECONFIG))" CONTEXT="$(CONTEXT)" hack/deploy.sh

.PHONY: install
install: kubectl ## Apply the CRDs (CONTEXT=NAME).
	@$(DEPLOY) install

.PHONY: uninstall
uninstall: kubectl ## Delete the CRDs and with them every Goshawk object; do it before undeploy, because the controllers remove finalizers (CONTEXT=NAME).
	@$(DEPLOY) uninstall

.PHONY: deploy
deploy: kubectl ## Apply config/default: namespace goshawk-system, CRDs, rights, controllers and device API (CONTEXT=NAME IMAGE=NAME:TAG WAIT=180).
	@IMAGE="$(IMAGE)" WAIT="$(or $(WAIT),180)" $(DEPLOY) deploy

.PHONY: undeploy
undeploy: kubectl ## Delete controllers, device API and rights; objects, CRDs and the record of invalidated sets stay (CONTEXT=NAME; CRDS=delete deletes CRDs and objects).
	@CRDS="$(or $(CRDS),keep)" $(DEPLOY) undeploy

.PHONY: run
run: kubectl build ## Run the manager here against a cluster with the CRDs (CONTEXT=NAME GOSHAWK_MANAGER_FLAGS=...).
	@$(DEPLOY) run
