# skiff: `make help` explains every target.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null | sed 's/^\([^v]\)/v0.1.0-\1/')
COMMIT   ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
DATE     ?= $(shell git log -1 --format=%cI 2>/dev/null || echo 1970-01-01T00:00:00Z)
KUBE     := v1.37.2+skiff
ARCH     ?= $(shell go env GOARCH)
# The last two leave out what nobody can reach: kustomize's Go plugins (package plugin makes the linker keep every exported function,
# 5 MB) and checkpoints by CRIU (0.6 MB).
TAGS     := netgo osusergo seccomp kustomize_disable_go_plugin_support runc_nocriu
MODULE   := codeberg.org/skiff/skiff
STATIC   := -s -w -linkmode external -extldflags "-static"
LDFLAGS  := $(STATIC) \
  -X $(MODULE)/internal/version.Version=$(VERSION) -X $(MODULE)/internal/version.Commit=$(COMMIT) -X $(MODULE)/internal/version.Date=$(DATE) \
  -X k8s.io/component-base/version.gitVersion=$(KUBE) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
  -X k8s.io/component-base/version.gitCommit=$(COMMIT) -X k8s.io/component-base/version.buildDate=$(DATE) \
  -X k8s.io/client-go/pkg/version.gitVersion=$(KUBE)
CC_arm64 := aarch64-linux-gnu-gcc
CC_amd64 := x86_64-linux-gnu-gcc

export CGO_ENABLED := 1
# The overlay lets the linker drop what nobody calls: scripts/slim/README.md.
export GOFLAGS := -buildvcs=false -overlay=$(CURDIR)/bin/overlay.json

.DEFAULT_GOAL := help
.PHONY: help
help: ## show this
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9_-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: bin/overlay.json ## install the Debian packages that building, running and testing need
	@scripts/deps.sh

.PHONY: bin/overlay.json
bin/overlay.json:
	@GOFLAGS= scripts/slim/overlay.sh

.PHONY: build
build: deps bin/skiff ## build bin/skiff, one static executable

# What containers are started from, packed into the folder that bin/skiff takes it in from: runtime/shim.
BUILD_SHIM = go build -tags '$(TAGS)' -ldflags '$(STATIC)' -o bin/skiff-shim
PACK_SHIM  = go run runtime/shim/pack.go bin/skiff-shim runtime/shim/built/skiff-shim.zst

.PHONY: shim
shim: bin/overlay.json
	@$(BUILD_SHIM) ./runtime/shim/skiff-shim
	@$(PACK_SHIM)

# Without -trimpath, which only releases need: this way the build, vet and the tests share what the compiler made.
.PHONY: bin/skiff
bin/skiff: bin/overlay.json shim
	@go build -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $@ .

.PHONY: run
run: build ## build, and run a node in the foreground (needs root)
	./bin/skiff server

.PHONY: demo
demo: build ## the whole tour, unattended, in a network namespace of its own (needs root)
	@scripts/demo.sh

.PHONY: test
test: build ## every test of the project (needs root)
	@scripts/test.sh

.PHONY: lint
lint: deps ## vet, staticcheck, gofmt
	@scripts/lint.sh

.PHONY: bench
bench: build ## measure what docs/performance.md reports (needs root, about 20 minutes)
	@scripts/bench.sh

.PHONY: conformance
conformance: build ## upstream's conformance tests on two nodes of their own (STAGE=1); needs $$CONFORMANCE_KIT
	@scripts/conformance.sh

.PHONY: every-kind
every-kind: build ## some thirty commands of kubectl (or $$KUBECTL) against an object of every kind (needs root, some minutes)
	@SKIFF_EVERY_KIND=1 go test -tags 'netgo osusergo seccomp' -vet off -count 1 -timeout 60m -run TestEveryKind -v ./scripts/e2e/

.PHONY: hostile
hostile: build ## programs in containers attack what the daemon does as root, 30 s (or $$SKIFF_HOSTILE) each place (needs root)
	@SKIFF_HOSTILE=$${SKIFF_HOSTILE:-30s} go test -tags 'netgo osusergo seccomp' -vet off -count 1 -timeout 60m -run 'Swaps|FilesOfThePod|Escapes|EvilImages' -v ./scripts/e2e/

.PHONY: fuzz
fuzz: deps ## each fuzz test for FUZZTIME=30s
	@scripts/fuzz.sh

.PHONY: vm
vm: build ## install, run, cut the power of and remove skiff in a real Debian (systemd, cgroup v2); needs $$VM_KIT
	@scripts/vm-test.sh

.PHONY: vm-runtime
vm-runtime: deps ## the container runtime's own tests in that Debian
	@scripts/vm-test.sh runtime

.PHONY: release
release: deps ## dist/skiff-linux-{amd64,arm64} with checksums
	@scripts/release.sh

.PHONY: release-binary
release-binary: bin/overlay.json
	@mkdir -p dist
	GOARCH=$(ARCH) CC=$(CC_$(ARCH)) $(BUILD_SHIM) -trimpath ./runtime/shim/skiff-shim
	@$(PACK_SHIM)
	GOARCH=$(ARCH) CC=$(CC_$(ARCH)) go build -tags '$(TAGS)' -trimpath -ldflags '$(LDFLAGS)' -o dist/skiff-linux-$(ARCH) .

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist runtime/shim/built/*.zst
