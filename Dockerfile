# The demo, on a CPU: no network is needed once the image is built.
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /opt/unmerge

# torch first, and with its index for CPUs, whose build pip takes for the newer one: the default one brings gigabytes for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt ./
RUN pip install -c constraints.txt torch --extra-index-url "$TORCH_INDEX"

COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY strategies strategies
COPY sim sim
COPY scenarios scenarios
COPY unmerge unmerge
RUN pip install -c constraints.txt .

RUN useradd --create-home --uid 1000 unmerge && mkdir -p /work/runs && chown -R unmerge /work
USER unmerge
WORKDIR /work
ENV HF_HUB_OFFLINE=1 UNMERGE_CACHE=/home/unmerge/.cache/unmerge
# Pretrains the demo's base model into the cache.
RUN unmerge datasets quickstart

CMD ["unmerge", "run", "quickstart"]
