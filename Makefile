# Front door to the build. What a target does is in cmd/casemate; `casemate
# build --help` says more about images.

# With the flags that casemate itself builds with, all is compiled only once.
CASEMATE := CGO_ENABLED=0 go run -trimpath -buildvcs=false ./cmd/casemate
OUT      := $(CURDIR)/out
# Lists what was skipped, with the reason, at the end.
GOTESTSUM := go run gotest.tools/gotestsum@v1.13.0 --format pkgname

# Users without a home of their own (nobody, CI) get caches here.
ifneq ($(shell test -d "$(HOME)" && test -w "$(HOME)" && echo yes),yes)
export GOCACHE        ?= $(CURDIR)/.cache/go-build
export GOPATH         ?= $(CURDIR)/.cache/go
export CASEMATE_CACHE ?= $(CURDIR)/.cache/casemate
endif

.PHONY: help image test lint bench run demo clean

help:
	@echo "make image   build the node image into out/ (fetches Debian packages the first time)"
	@echo "make test    build the image, then run all tests; some boot it in QEMU"
	@echo "make lint    check formatting, and run vet and staticcheck"
	@echo "make bench   run the benchmarks"
	@echo "make run     boot the image over PXE in QEMU and say what to type"
	@echo "make demo    watch two guests fail to reach each other, and power off"
	@echo "make clean   remove out/; downloads stay in the cache"
	@echo
	@echo "BUILD=... goes to casemate build, ARGS=... to casemate run or demo, as in"
	@echo "make image BUILD='--config node.yaml'; casemate build --help lists them."

image:
	$(CASEMATE) build --out "$(OUT)" $(BUILD)

# Never from the test cache: it knows nothing of the guest's program and the tools.
test: image
	go vet ./...
	env=$$($(CASEMATE) test-env "$(OUT)") && set -a && eval "$$env" && \
	: "$${CASEMATE_OUT:?}" "$${CASEMATE_SECILC:?}" "$${CASEMATE_QEMU:?}" "$${CASEMATE_TEST_TREE:?}" && \
	$(GOTESTSUM) -- -count=1 -timeout 60m ./...

lint:
	@unformatted=$$(gofmt -l $(wildcard */)); test -z "$$unformatted" || { echo "not formatted: $$unformatted" >&2; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...

bench: image
	CASEMATE_OUT="$(OUT)" go test -timeout 60m -run '^$$' -bench . ./...

run: image
	$(CASEMATE) run $(ARGS)

demo: image
	$(CASEMATE) demo $(ARGS)

clean:
	rm -rf "$(OUT)"
