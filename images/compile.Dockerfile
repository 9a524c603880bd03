# Compiles one package over a flavour's agent libraries, for some architectures. The context is assembled by
# `aira_bench.images.compiled`: the package's source archive, the wrapper of nvcc, nothing else; no network.
ARG LIBRARIES
FROM ${LIBRARIES} AS compiled
LABEL aira-bench.stage="installed"
COPY source.tar.gz nvcc /build/
ARG ARCHITECTURES
ARG JOBS
ARG VARIABLES
# CUDA's own folder, but for nvcc: packages name architectures of their own, up to nine of them.
RUN mkdir -p /build/cuda/bin /build/source && ln -s /usr/local/cuda/include /usr/local/cuda/lib64 /build/cuda/ \
 && chmod 755 /build/nvcc && mv /build/nvcc /build/cuda/bin/nvcc \
 && tar -xzf /build/source.tar.gz -C /build/source --strip-components 1
# Links into wheels: a package that hard-codes an architecture is compiled for those asked for.
RUN cd /build/source && export CUDA_HOME=/build/cuda PATH=/build/cuda/bin:$PATH \
        TORCH_CUDA_ARCH_LIST="${ARCHITECTURES}" MAX_JOBS="${JOBS}" NVCC_THREADS=1 ${VARIABLES} \
 && python3 setup.py bdist_wheel --dist-dir /build/wheel && ls /build/wheel/*.whl
