# syntax=docker/dockerfile:1
# CPU:   docker build --build-arg TORCH_INDEX=<index of CPU wheels> --tag kelvin .
# GPU:   docker build --tag kelvin .   and   docker run --gpus all ...
# TensorFlow:  --build-arg FRAMEWORK=tensorflow, or tensorflow-gpu

FROM python:3.12.12-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PATH=/opt/kelvin/bin:$PATH

FROM base AS build
ARG FRAMEWORK=torch
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=
RUN python -m venv /opt/kelvin
# The framework is most of the image and seldom changes: a layer of its own, before the sources.
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ "$FRAMEWORK" = torch ]; then \
        pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==$TORCH_VERSION"; \
    fi
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY samplers samplers
COPY server server
# Versions stand in pyproject.toml.
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip pip install ".[$FRAMEWORK,finetune]"

FROM base AS runtime
ARG FRAMEWORK=torch
# The kernels are built for the processor that they run on. Versions follow the base image's release, which is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home kelvin \
    && install --directory --owner=kelvin --group=kelvin /models /data
COPY --from=build /opt/kelvin /opt/kelvin
# All addresses of the container; what reaches it is decided by what is published. The server starts there only with keys
# (KELVIN_API_KEYS_FILE, a file mounted into the container) or with KELVIN_INSECURE=true, for a port of this machine alone.
ENV KELVIN_HOST=0.0.0.0 \
    KELVIN_FRAMEWORK=${FRAMEWORK%-gpu} \
    KELVIN_MODELS_DIR=/models \
    KELVIN_DATA_DIR=/data \
    KELVIN_CACHE_DIR=/data/cache
VOLUME ["/models", "/data"]
USER 10001
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as request; request.build_opener(request.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ.get('KELVIN_PORT', 8000)}/health/live\", timeout=4)"]
CMD ["kelvin", "serve"]
