"""Our own Triton kernels: the SSD scan, (gated) RMS norms, and the causal convolution with SiLU.

Importing a module of this package imports triton. `aira_kernels.backend` does so on demand; nothing else should.
"""
