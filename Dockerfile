# The serving wing alone: no torch, no compiler, no pip of its own, not root; the root may be read-only. Bundles are mounted at /bundles.
#   docker build -t seatrial .        docker build --target gpu -t seatrial-gpu .
# BASE has Python with pip and venv; RUNTIME has the same Python, and may have less. Digests are renewed by `make pin`: docs/how-to/container.md.
ARG BASE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
ARG RUNTIME=${BASE}

FROM ${BASE} AS wheel
WORKDIR /src
COPY deploy/image deploy/image
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r deploy/image/build.txt \
    && mkdir /cache /bundles /state
COPY pyproject.toml README.md LICENSE ./
COPY contracts contracts
COPY export export
COPY serve serve
COPY parity_tests parity_tests
COPY cli cli
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM wheel AS cpu-packages
RUN sh deploy/image/install.sh cpu

FROM wheel AS gpu-packages
RUN sh deploy/image/install.sh gpu

FROM ${RUNTIME} AS serving
# What onnxruntime and TensorRT compile is kept here, where a volume is mounted; where the root is read-only and none is, nothing is kept.
COPY --from=wheel --chown=10001:10001 /cache /cache
# Which signed versions were served is kept here: with signatures required, a volume has to be mounted where the root is read-only.
COPY --from=wheel --chown=10001:10001 /state /state
COPY --from=wheel /bundles /bundles
# A runtime reads what a graph names from below the working directory: it is a folder of its own, and empty.
WORKDIR /nothing
USER 10001:10001
# TOKENIZERS_PARALLELISM is no secret: it keeps the tokenizer's own threads out of the plan of threads.
# hadolint ignore=DL3064
ENV PATH=/opt/seatrial/bin:$PATH XDG_CACHE_HOME=/cache XDG_STATE_HOME=/state SEATRIAL_CONTAINER=image PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "seatrial_serve.probe"]
ENTRYPOINT ["seatrial", "serve"]

FROM serving AS gpu
# A model that the card does not run is not ready, and says why: see docs/how-to/engines.md.
ENV SEATRIAL_PROVIDERS=CUDAExecutionProvider NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /opt/seatrial /opt/seatrial

FROM serving AS cpu
COPY --from=cpu-packages /opt/seatrial /opt/seatrial
