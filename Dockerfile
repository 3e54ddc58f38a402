# The serving wing alone: no torch, not root. Bundles are mounted at /bundles, read-only.
ARG BASE=python:3.13-slim
FROM ${BASE}

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY contracts contracts
COPY export export
COPY serve serve
COPY parity_tests parity_tests
COPY cli cli
RUN python3 -m venv /opt/seatrial \
    && /opt/seatrial/bin/pip install --no-cache-dir '.[serve,text,image]' -c constraints.txt \
    && useradd --system --no-create-home --uid 10001 seatrial

USER 10001
# TOKENIZERS_PARALLELISM is no secret: it keeps the tokenizer's own threads out of the plan of threads.
# hadolint ignore=DL3064
ENV PATH=/opt/seatrial/bin:$PATH SEATRIAL_BUNDLES=/bundles SEATRIAL_HOST=0.0.0.0 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=4)"]
ENTRYPOINT ["seatrial", "serve"]
