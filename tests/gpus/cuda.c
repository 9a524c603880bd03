/* A stand-in for NVIDIA's libcuda.so.1: the call named in $FAKE_CUDA fails with the number behind it, as in
   "cuMemAlloc_v2 2"; "devices N" is how many there are; "crash" ends the process. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int status(const char *call) {
    char name[64] = "";
    int code = 0;
    const char *told = getenv("FAKE_CUDA");
    if (told && !strcmp(told, "crash")) raise(SIGSEGV);
    return told && sscanf(told, "%63s %d", name, &code) == 2 && !strcmp(name, call) ? code : 0;
}
int cuInit(unsigned flags) { (void)flags; return status("cuInit"); }
int cuDeviceGetCount(int *count) { int told = status("devices"); *count = told ? told : 1; return 0; }
int cuDeviceGetName(char *name, int size, int device) { (void)device; snprintf(name, size, "NVIDIA H100 80GB HBM3"); return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = (void *)1; return status("cuDevicePrimaryCtxRetain"); }
int cuCtxSetCurrent(void *context) { return context == (void *)1 ? 0 : 201; }
int cuMemAlloc_v2(unsigned long long *to, size_t size) { *to = 7; (void)size; return status("cuMemAlloc_v2"); }
int cuMemFree_v2(unsigned long long memory) { return memory == 7 ? 0 : 1; }
int cuGetErrorName(int code, const char **to) {
    *to = code == 100 ? "CUDA_ERROR_NO_DEVICE" : code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 802 ? "CUDA_ERROR_SYSTEM_NOT_READY" : code == 304 ? "CUDA_ERROR_OPERATING_SYSTEM" : "CUDA_ERROR_UNKNOWN";
    return 0;
}
