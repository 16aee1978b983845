# Every target works from a fresh checkout on x86_64 Linux; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help tools libtorch demo test lint fmt hyperparameters settings gallery fuzz check-weights bench-train-step bench-recipe \
  bench-scaling bench-gpu bench-precision bench-preprocess bench-loader bench-memory bench-serve bench-latency bench-kernels bench-audit bench-coverage bench-robustness bench-evaluate bench-search soak image-cpu image-gpu test-image test-image-gpu \
  test-kills test-page test-hosts test-nccl test-editor test-labelstudio test-aws test-pipeline test-interop test-decoders test-restarts test-gpu test-gpu-bundle test-isa test-bare push

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Install what building needs where that is allowed, else name it in one line
	@scripts/setup.sh check

libtorch: tools ## Fetch libtorch 2.10.0 (500 MB on disk) into .libtorch
	@scripts/libtorch.sh

# What scripts/setup.sh lets cargo be called with: nothing, or --no-default-features where there is no nasm.
options = $$(cat .tools/cargo-options)

demo: libtorch ## Make a data set, train, serve, segment a picture, show the scores
	cargo build --release --locked $(options)
	scripts/demo.sh

# The order is that of what fails soonest. Examples are benchmarks and helpers of other targets: clippy checks them, and
# linking each to libtorch takes time.
test: libtorch ## Formatting, clippy, documentation, every test
	cargo fmt --check
	cargo clippy --all-targets --locked $(options) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked $(options)
	cargo test --lib --bins --test it --locked $(options)
	cargo test --doc --locked $(options)

test-kills: libtorch ## Kill a local run of pipeline.json, and a search, at 10 random moments (MASKMAKER_KILLS), and compare what they end with
	MASKMAKER_KILLS=$${MASKMAKER_KILLS:-10} cargo test --test it --locked $(options) -- --exact --test-threads 1 \
	  pipeline_run::kills::a_run_that_is_killed_again_and_again_ends_with_the_same_model \
	  search::a_search_that_is_killed_again_and_again_repeats_no_finished_trial

test-isa: libtorch ## What depends on the processor's instructions, with AVX2, AVX-512 and AVX-512 with bfloat16
	tests/isa/run.sh

test-bare: ## `make demo` and `make test` in a container of the bare base image, with make, python3 and git alone (COMMANDS="demo test")
	tests/bare/run.sh $(foreach command,$(or $(COMMANDS),demo test),"make $(command)")

lint: libtorch ## Formatting, clippy, and the dependencies' licenses, sources and advisories
	cargo fmt --check
	cargo clippy --all-targets --locked $(options) -- -D warnings
	@scripts/setup.sh assembler
	@cargo metadata --manifest-path fuzz/Cargo.toml --locked --format-version 1 >/dev/null \
	  || { echo "fuzz/Cargo.lock is behind Cargo.toml: cargo metadata --manifest-path fuzz/Cargo.toml >/dev/null"; exit 1; }
	CARGO_TARGET_DIR=target/fuzz cargo check --manifest-path fuzz/Cargo.toml --bins --locked
	@cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
	cargo deny --locked check

fmt: tools ## Format the sources
	cargo fmt

hyperparameters: libtorch ## Write hyperparameters/README.md and schema.json from the code's table
	cargo build --locked $(options)
	$${CARGO_TARGET_DIR:-target}/debug/maskmaker hyperparameters --format markdown >hyperparameters/README.md
	$${CARGO_TARGET_DIR:-target}/debug/maskmaker hyperparameters --format schema >hyperparameters/schema.json

settings: libtorch ## Write the tables of flags in docs/ from the command line's definition
	cargo test --test it --locked $(options) -- --ignored --exact settings::write_the_tables_of_flags

gallery: libtorch ## Draw the pictures of docs/gallery.md anew
	cargo run --release --locked $(options) --example gallery

fuzz: libtorch ## Fuzz the readers of foreign files (TARGET=all RUNS=10000000), with the stable compiler
	fuzz/run.sh $(or $(TARGET),all) $(or $(RUNS),10000000)

check-weights: libtorch ## Compare weights files of torchvision's whole networks, as read here, with PyTorch
	$${MASKMAKER_BENCH_PYTHON:-python3} tests/golden/check_weights.py

bench-train-step: libtorch ## Time a training step in fp32 and in bf16 against PyTorch's, in turn
	benches/train_step.sh
	benches/train_step.sh --precision bf16

bench-recipe: libtorch ## Train side by side with torchvision's reference recipe and compare the scores
	benches/recipe.sh

bench-precision: libtorch ## Train in fp32 and in bf16: scores and speed
	benches/precision.sh

bench-preprocess: libtorch ## Time masks beside Label Studio's converter, and hold preprocess's memory flat
	benches/preprocess.sh
	benches/preprocess.sh --memory

bench-loader: libtorch ## Time loading training batches against torchvision's DataLoader, in turn
	benches/loader.sh

bench-scaling: libtorch ## Time two workers beside PyTorch's DistributedDataParallel over Gloo, in turn
	benches/scaling.sh

bench-gpu: ## Time training steps on a GPU beside torchvision's, with AMP, channels_last and torch.compile
	benches/gpu.sh

bench-memory: libtorch ## Hold the memory of a training job flat over 1,000 steps
	benches/memory.sh

bench-serve: libtorch ## Time serving beside TorchServe, the SageMaker inference toolkit and FastAPI, in turn (an hour; java)
	benches/serve.sh

bench-latency: libtorch ## Time one forward pass beside ONNX Runtime, OpenVINO and PyTorch, in turn
	benches/latency.sh

bench-evaluate: libtorch ## Time an evaluation beside the same in PyTorch and torchvision, in turn, and hold its memory flat
	benches/evaluate.sh
	benches/evaluate.sh --memory

bench-kernels: libtorch ## Time convolutions by oneDNN and by Winograd's algorithm, and print TRANSFORM_COST as each shape would have it
	cargo build --release --locked --example kernels $(options)
	$${CARGO_TARGET_DIR:-target}/release/examples/kernels

bench-audit: libtorch ## Measure what share of an audit's time the digests of its files take (10,000 images)
	benches/audit_digests.sh

bench-coverage: libtorch ## Measure how many intervals of the bootstrap hold the true score, by size of the test set
	cargo build --release --locked --example bootstrap_coverage $(options)
	$${CARGO_TARGET_DIR:-target}/release/examples/bootstrap_coverage

bench-search: libtorch ## Compare searches for hyperparameters with random values, with Optuna, and with the defaults
	benches/search.sh

bench-robustness: libtorch ## Train without and with noise, and score both models on disturbed images
	benches/robustness.sh

soak: libtorch ## Drive the server with good, bad and abandoned requests, end it by SIGTERM (MINUTES=10 CLIENTS=64)
	tests/soak/run.sh --minutes $(or $(MINUTES),10) --clients $(or $(CLIENTS),64)

image-cpu: ## Build the image maskmaker:cpu (PRETRAINED=none leaves torchvision's backbones out); prints its size
	scripts/image.sh build cpu

image-gpu: ## Build the image maskmaker:gpu (PRETRAINED=none, STUBS=default|all|none, DRIVER_LIBRARIES=535|none, EFA=0|1); prints its size
	scripts/image.sh build gpu

test-image-gpu: ## Acceptance of the GPU image without a GPU: size, libraries, kernels, the CPU image's bytes
	tests/image_gpu/run.sh

test-image: ## Acceptance of the image: docker run, and SageMaker's Python SDKs in local mode
	tests/local_mode/run.sh

test-page: libtorch ## The server's page in headless Chromium (Debian's packages chromium and chromium-driver)
	cargo build --locked --bin maskmaker $(options)
	tests/page/run.sh

test-editor: ## Polygons as Label Studio's editor fills them, in headless Chromium (Debian's packages; PyPI once)
	tests/editor/run.sh

test-labelstudio: libtorch ## fetch, label-studio push and backend with a real Label Studio (1.1 GB of packages into .venv/label-studio once)
	cargo build --locked --bin maskmaker $(options)
	tests/labelstudio/run.sh

test-nccl: ## Build the library by which GPUs exchange gradients, against the GPU libraries of torch 2.10 and 2.11
	tests/nccl/run.sh

test-hosts: libtorch ## Training on two hosts (network namespaces; root): links cut, workers killed (MASKMAKER_KILLS=20)
	cargo build --locked --bin maskmaker $(options)
	tests/hosts/run.sh

test-aws: libtorch ## What reads S3, against moto's server on loopback
	tests/aws/run.sh

test-pipeline: ## pipeline.json and pipelines/ beside SageMaker's Python SDK, botocore's model of the API and the schema (PyPI once)
	tests/pipeline/run.sh

test-interop: libtorch ## Open models, event files and masks with PyTorch, ONNX Runtime, TensorBoard and Label Studio's converter (7 GB of packages into .venv/interop)
	tests/interop/run.sh

test-decoders: libtorch ## Decode generated and damaged images beside PIL and OpenCV (SEED=1 COUNT=2000 per format; packages into .venv/decoders)
	tests/decoders/run.sh --seed $(or $(SEED),1) --count $(or $(COUNT),2000)

test-restarts: libtorch ## Start jobs again after 30 random histories of changed data, settings and checkpoints
	cargo test --test it --locked $(options) -- --ignored --nocapture restarts::

test-gpu-bundle: ## Build the GPU tests against torch 2.11, for a machine without cargo (target/gpu-test-bundle, below 64 MiB)
	scripts/gpu-test-bundle.sh

test-gpu: libtorch ## What needs an NVIDIA GPU; without one it says so
	tests/gpu/run.sh

push: ## Push maskmaker:cpu to ECR (IMAGE=gpu for the other, REPOSITORY=maskmaker, AWS_REGION); prints the URI
	@scripts/image.sh push $(or $(REPOSITORY),maskmaker) $(or $(IMAGE),cpu)
