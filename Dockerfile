# The orchestrator as an image. It drives the host's Docker daemon, so its data folder must have the same path inside
# and outside (the daemon resolves mounts on the host):
#
#   docker build -t aira-bench .
#   docker run --rm -it -v /var/run/docker.sock:/var/run/docker.sock -v "$PWD/aira:$PWD/aira" \
#       -e AIRA_HOME="$PWD/aira/home" -e AIRA_RUNS="$PWD/aira/runs" -e TMPDIR="$PWD/aira" \
#       aira-bench run --agent evolution --task mad-2p --profile cpu --seeds 2
#
# GPUs of the host are found through the same engine: a short container of this image, which gets all of them, asks the
# driver. With `--gpus all -e NVIDIA_DRIVER_CAPABILITIES=utility` this one sees them itself, and also watches their clocks,
# memory errors and who else computes there. No device is computed on from here.
#
# Whoever may talk to that socket is root on the host: this image is for convenience, not for isolation.
ARG BASE=python:3.11.13-slim-bookworm
FROM ${BASE} AS wheel
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source && cp /source/requirements-dev.lock /wheels

FROM ${BASE}
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --constraint /wheels/requirements-dev.lock /wheels/*.whl
ENTRYPOINT ["aira-bench"]
CMD ["--help"]
