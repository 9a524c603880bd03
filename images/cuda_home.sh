#!/bin/sh
# Puts together /usr/local/cuda in the agent image, so that agents' code can be compiled: what CUDA's wheels hold, and
# Debian's nvcc where the base has that. A base that came with a toolkit keeps it; without CUDA's wheels nothing is done.
set -eu
wheels=/opt/aira/lib/python3.11/site-packages/nvidia
cuda=/usr/local/cuda
[ -d "$wheels" ] && [ ! -e "$cuda" ] || exit 0
if [ -x "$wheels/cu13/bin/nvcc" ]; then
    # From CUDA 13 on the wheels share one folder, laid out like a toolkit. nvcc looks for the rest beside itself.
    ln -s "$wheels/cu13" "$cuda"
    ln -s lib "$cuda/lib64"
else
    mkdir -p "$cuda/lib64"
    for package in "$wheels"/*/; do
        for part in bin include nvvm lib; do
            [ ! -d "$package$part" ] || { mkdir -p "$cuda/$part" && cp -rsn "$package$part/." "$cuda/$part/"; }
        done
    done
    cp -rsn "$cuda"/lib/. "$cuda/lib64/"
    [ ! -x /usr/bin/nvcc ] || for tool in nvcc ptxas nvlink cuobjdump nvdisasm fatbinary cudafe++ bin2c; do
        ln -sf "/usr/bin/$tool" "$cuda/bin/$tool"
    done
fi
# Wheels hold libcudart.so.13 alone; what links names libcudart.so.
for library in "$cuda"/lib64/lib*.so.*; do
    ln -s "$(basename "$library")" "${library%%.so.*}.so" 2>/dev/null || true
done
