# Packages of ours over a flavour's libraries. The context is assembled by `aira_bench.images.ensure`: our packages, and
# in the agents' context the wheels of packages that are compiled; the build has no network.
#
# Judges get none of what is compiled: whether it could be had on a machine must not show in a score.
ARG LIBRARIES
# This stage stays, without a name and some times the size of its wheels: a change of our code finds it again.
FROM ${LIBRARIES} AS compiled
COPY wheels /wheels
RUN mkdir -p /opt/compiled && if ls /wheels/*.whl >/dev/null 2>&1; then python3 -m venv /opt/pip \
 && /opt/pip/bin/python3 -m pip install --no-index --no-cache-dir --no-deps --no-compile --prefix /opt/compiled \
        /wheels/*.whl \
 && { python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /opt/compiled -p /opt/aira /opt/compiled \
        || true; }; fi

FROM ${LIBRARIES} AS ours
COPY --from=compiled /opt/compiled /opt/aira
COPY packages /opt/aira/lib/python3.11/site-packages
ARG IMPORTS
RUN cd /opt/aira/lib/python3.11/site-packages \
 && python3 -m compileall -q --invalidation-mode unchecked-hash aira_* \
 && CUDA_VISIBLE_DEVICES= python3 -c "import ${IMPORTS}"
USER 10001:10001
