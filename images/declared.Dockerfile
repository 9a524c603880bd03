# What a task declares, over an image of ours. The context is assembled by `aira_bench.images.ensure`: wheels and their
# lock, nothing else; the build has no network.
#
# The packages lie in a folder of their own, which Python searches last: none of them can take the place of one of ours.
# Only that folder's line is read, so a wheel's own .pth files, which could run code at every start, have no effect. Two
# modules are imported at every start wherever they lie, judges' too: those are removed.
ARG IMAGE
FROM ${IMAGE} AS installed
USER root
COPY wheels /wheels
COPY declared.lock /wheels/
RUN python3 -m venv /opt/pip \
 && /opt/pip/bin/python3 -m pip install --no-index --no-cache-dir --no-deps --no-compile --only-binary :all: \
        --find-links /wheels --require-hashes --target /opt/declared --requirement /wheels/declared.lock \
 && rm -rf /opt/declared/bin /opt/declared/sitecustomize* /opt/declared/usercustomize* \
 && { python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/declared || true; }

FROM ${IMAGE} AS declared
USER root
COPY --from=installed /opt/declared /opt/declared
RUN echo /opt/declared >/opt/aira/lib/python3.11/site-packages/declared.pth
USER 10001:10001
RUN python3 -c "import sys; assert sys.path[-1] == '/opt/declared', sys.path"
