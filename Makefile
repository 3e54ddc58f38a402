# seatrial: `make demo` shows what it does, `make test` passes the tests; both set up what they need.
PYTHON ?= python3
BIN := .venv/bin
BUNDLES ?= bundles
RUNS ?= 20000
HARNESS ?= ../shared/bench
TARGET ?= cpu
DIST ?= dist
PACKAGE := build/package/bin
EXAMPLES := quick
QUICK := -m 'not slow and not gpu and not hub' -n auto --dist worksteal tests
SLOW := -m slow -n 2 --dist worksteal --durations=40 tests parity_tests
export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE = 1

.PHONY: help setup judges demo docs lint check quick fix test coverage test-gpu test-boosters test-extras test-hub test-ray bench-ray parity parity-matrix triton clients image image-test lock pin wheel package audit bench zoo fuzz proto up down clean
.DEFAULT_GOAL := help

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: .venv/.ready ## make .venv with everything in it (CPU)
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "set up. next: . .venv/bin/activate    and then: seatrial --help    (without it: .venv/bin/seatrial --help)")

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "seatrial needs Python 3.11 or newer: make PYTHON=python3.12 setup"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "this Python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python tools/install.py '.[dev]' constraints.txt
	@touch $@

judges: ## what some tests ask beside Python, from Debian, as root: Chromium, Prometheus, Alertmanager, a registry, age, rsyslog, nginx, strace (without, they are skipped and say so)
	@for tool in chromium promtool prometheus-alertmanager docker-registry age rsyslogd nginx strace; do PATH=$$PATH:/usr/sbin command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium prometheus prometheus-alertmanager docker-registry age rsyslog nginx-light strace >/dev/null; fi

demo: setup ## seal the examples, try them, serve them: http://127.0.0.1:8000
	$(BIN)/python examples/demo.py --out $(BUNDLES)

docs: setup build/docs/.ready ## write the docs as a site: build/site/index.html, which opens without a server
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build

build/docs/.ready: tools/site/requirements.txt
	$(PYTHON) -m venv build/docs
	build/docs/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

check: lint quick ## lint, types, imports and the quick tests, properties by a few examples: under a minute

quick: setup
	$(BIN)/python -m pytest --hypothesis-profile=$(EXAMPLES) $(QUICK)

fix: setup ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: EXAMPLES := full
test: check build/docs/.ready ## everything: lint, types, imports, the quick tests, then the slow ones
	$(BIN)/python -m pytest $(SLOW)

coverage: setup ## all tests, and the lines of ours that none of them runs in its own process
	$(BIN)/python -m pytest $(QUICK) --cov --cov-report=
	$(BIN)/python -m pytest $(SLOW) --cov --cov-append --cov-report=term:skip-covered

parity: setup ## the trial of every example through every runner, the server included
	$(BIN)/python -m pytest parity_tests

parity-matrix: setup ## every example through everything that can answer for it, as one table (Triton: after make triton)
	$(BIN)/python tools/parity_matrix.py

triton: ## install NVIDIA's Triton server, Python backend alone, for the tests that ask it: some 300 MB in build/triton
	sh tools/triton_install.sh build/triton

clients: build/clients/kserve/.ready build/clients/mlflow/.ready build/clients/tf_serving/.ready build/clients/embeddings/.ready build/clients/stores/.ready build/clients/object_stores/.ready build/clients/store_servers/.ready build/clients/azurite/.ready build/clients/kubernetes/.ready ## install other projects' own clients, each in an environment of its own, for the tests that ask by them

build/clients/%/.ready: tests/clients/%.txt
	$(PYTHON) -m venv build/clients/$*
	build/clients/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

build/clients/azurite/.ready: ## Microsoft's server that speaks Azure's blobs, by npm
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --ignore-scripts --prefix build/clients/azurite azurite@3.35.0 && touch $@; fi

build/clients/kubernetes/.ready: tests/clients/kubernetes.txt tools/kubernetes_judges.sh
	sh tools/kubernetes_judges.sh build/clients/kubernetes
	@touch $@

test-boosters: build/boosters/.ready ## LightGBM, XGBoost and CatBoost adopted, in an environment of their own (no part of test)
	build/boosters/bin/python -m pytest --no-cov tests/boosters

test-ray: setup build/ray/.ready ## bundles on a real Ray Serve, some five minutes (no part of test)
	$(BIN)/python -m pytest --no-cov -s -p no:randomly tests/ray_serve

build/ray/.ready: tests/ray_serve/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv build/ray
	build/ray/bin/python -m pip install --quiet --disable-pip-version-check -e '.[ray,text,image]' -r $< -c constraints.txt
	@touch $@

test-hub: setup ## families and tasks of hub folders through the gate, some 10 minutes (no part of test)
	$(BIN)/python -m pytest --no-cov -p no:randomly tests/hub_families

build/boosters/.ready: tests/boosters/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv build/boosters
	build/boosters/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	build/boosters/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

image: ## build the container image without a daemon, as root with buildah, podman, crun and debootstrap: TARGET=cpu or gpu
	@command -v buildah podman crun debootstrap >/dev/null || { echo "apt-get install --no-install-recommends buildah podman crun debootstrap"; exit 1; }
	sh tools/image_build.sh build/image $(TARGET)

image-test: setup image ## build the image, run its server over a read-only root, and pass the golden rows through it
	$(BIN)/python -m pytest -s tests/test_image.py

lock: setup ## pin the image's packages by hash, as constraints.txt has them (uv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c constraints.txt
	for target in cpu gpu build; do $(BIN)/python deploy/image/lock.py $$target || exit 1; done

wheel: build/package/.ready ## sdist and wheel, and beside them an SBOM (CycloneDX) of what the image pins for it, into DIST (dist)
	rm -f $(DIST)/seatrial-*
	$(PACKAGE)/python -m build --no-isolation --outdir $(DIST) .
	sh deploy/image/sbom.sh $(PACKAGE)/cyclonedx-py $(DIST)/seatrial.cdx.json requirements deploy/image/cpu.txt

package: wheel ## the same, checked: metadata, what is in the wheel, and that the tree makes the wheel that the sdist made
	$(PACKAGE)/twine check --strict $(DIST)/*.whl $(DIST)/*.tar.gz
	$(PACKAGE)/check-wheel-contents $(DIST)/*.whl
	$(PACKAGE)/python -m build --no-isolation --wheel --outdir $(DIST)/from-tree .
	cmp $(DIST)/*.whl $(DIST)/from-tree/*.whl && rm -r $(DIST)/from-tree

build/package/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/package
	$(PACKAGE)/python -m pip install --quiet --disable-pip-version-check build hatchling twine check-wheel-contents cyclonedx-bom uv -c constraints.txt
	@touch $@

test-extras: wheel ## each extra alone, from the wheel in a clean environment: EXTRAS="text age", or every one (no part of test)
	$(PACKAGE)/python tools/extras_alone.py --wheel $(DIST)/*.whl $(EXTRAS)

audit: build/audit/.ready ## known vulnerabilities of the locked packages: of the kept list, then of pip-audit's services (needs a network)
	build/audit/bin/python tools/advisories.py
	for lock in cpu gpu build; do build/audit/bin/pip-audit --disable-pip --require-hashes --requirement deploy/image/$$lock.txt || exit 1; done

build/audit/.ready:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit packaging -c constraints.txt
	@touch $@

pin: ## pin the images that compose and the Dockerfile start from, by digest, in deploy/.env (docker, and a registry within reach)
	$(PYTHON) deploy/pin.py

test-gpu: .venv-gpu/.ready ## on a machine with a card: the tests that need one, and figures (an environment of its own, with onnxruntime-gpu)
	.venv-gpu/bin/python -m pytest -s -m gpu tests

.venv-gpu/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	.venv-gpu/bin/python -m pip uninstall --quiet --yes onnxruntime
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps onnxruntime-gpu -c constraints.txt
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check 'onnxruntime-gpu[cuda,cudnn]' -c constraints.txt
	@touch $@

bench: setup ## seal the benchmark harness's models and measure against the peers: HARNESS=folder (needs wrk)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' -c constraints.txt
	$(BIN)/python benchmarks/harness/seal_harness.py $(HARNESS) build/bench
	mkdir -p build/bench/venvs && ln -sfn ../../../.venv build/bench/venvs/seatrial
	$(BIN)/python $(HARNESS)/bench.py --work build/bench/work --venv-root build/bench/venvs --models-python $(BIN)/python --contender benchmarks/harness/contender.toml $(BENCH)
	$(BIN)/python benchmarks/harness/plot.py build/bench/work/results.json build/bench/results.png

bench-ray: setup build/ray/.ready ## seatrial on Ray Serve beside the harness's own Ray contender, in turns (needs wrk; after make bench)
	mkdir -p build/bench/venvs && ln -sfn ../../../.venv build/bench/venvs/plain_fastapi
	for name in rayserve seatrial_ray seatrial_ray_haproxy seatrial_ray_direct; do ln -sfn ../../ray build/bench/venvs/$$name; done
	$(BIN)/python $(HARNESS)/bench.py --work build/bench/work --venv-root build/bench/venvs --models-python $(BIN)/python --only rayserve --workloads tabular,text --no-overload \
		--contender benchmarks/harness/ray/contender.toml --contender benchmarks/harness/ray/haproxy.toml --contender benchmarks/harness/ray/direct.toml $(BENCH)

zoo: setup ## hub models of many tasks: error, time to seal, size, speed beside their library; some 20 minutes (needs wrk)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' -c constraints.txt
	$(BIN)/python benchmarks/zoo/run.py

fuzz: setup ## bytes of all kinds into the parsers, 20,000 each (atheris): RUNS=number
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris -c constraints.txt
	for parser in v1 v2 image; do $(BIN)/python tests/fuzz/parsers.py $$parser -runs=$(RUNS) -max_len=20000 -timeout=10 || exit 1; done

proto: setup ## make the gRPC messages anew from inference.proto, in a descriptor pool of their own
	cd serve/seatrial_serve/v2/proto && $(CURDIR)/$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. inference.proto \
		&& sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' inference_pb2.py

up: ## the server with Prometheus, Alertmanager and Grafana, in containers (bundles: make demo, or your own in ./bundles)
	@test -n "$$(ls -d $(BUNDLES)/*/*/manifest.json 2>/dev/null)" || { echo "no bundles in ./$(BUNDLES): make demo seals the examples, seatrial export your own"; exit 1; }
	docker compose -f deploy/compose.yaml up --build --wait

down: ## end what `make up` started; what Prometheus and Grafana keep stays
	docker compose -f deploy/compose.yaml down

clean: ## remove what setup, demo and tests made
	rm -rf .venv .venv-gpu $(BUNDLES) build reports .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
