/* A stand-in for NVIDIA's libcuda.so.1 at its binary interface: the memory of a device is the file $FAKE_CUDA.

   $FAKE_CUDA_CLEARS says what an allocation finds there: `all` nothing (the driver clears), `none` what was left,
   `half` what was left in its second half, `most` what was left in its last page of 2 MiB. $FAKE_CUDA_FAILS names a call
   that fails with 999. $FAKE_CUDA_TAKEN: bytes that somebody else holds. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static unsigned char *memory;
static size_t total, used;

static int fails(const char *name) {
    const char *named = getenv("FAKE_CUDA_FAILS");
    return named && !strcmp(named, name) ? 999 : 0;
}
int cuInit(unsigned flags) {
    struct stat found;
    int file = open(getenv("FAKE_CUDA"), O_RDWR);
    if (flags || file < 0 || fstat(file, &found)) return 100;
    total = found.st_size;
    used = getenv("FAKE_CUDA_TAKEN") ? strtoull(getenv("FAKE_CUDA_TAKEN"), NULL, 10) : 0;
    memory = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return memory == MAP_FAILED ? 100 : fails("cuInit");
}
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? 101 : fails("cuDeviceGet"); }
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = memory; return memory ? 0 : 3; }
int cuCtxSetCurrent(void *context) { return context == memory ? 0 : 201; }
int cuCtxSynchronize(void) { return 0; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *all) { *free_bytes = total - used; *all = total; return 0; }
int cuMemAlloc_v2(unsigned long long *place, size_t size) {
    const char *clears = getenv("FAKE_CUDA_CLEARS");
    if (fails("cuMemAlloc_v2")) return 999;
    if (size > total - used) return 2;
    unsigned char *at = memory + used;
    if (!strcmp(clears, "all")) memset(at, 0, size);
    if (!strcmp(clears, "half")) memset(at, 0, size / 2);
    if (!strcmp(clears, "most")) memset(at, 0, size - (2 << 20));
    *place = (unsigned long long)at;
    used += size;
    return 0;
}
int cuMemsetD32_v2(unsigned long long place, unsigned word, size_t count) {
    for (size_t i = 0; i < count; i++) ((unsigned *)place)[i] = word;
    return fails("cuMemsetD32_v2");
}
int cuMemcpyDtoH_v2(void *to, unsigned long long place, size_t size) {
    memcpy(to, (void *)place, size);
    return 0;
}
