/* A stand-in for NVIDIA's libnvidia-ml.so.1 at its binary interface: it answers what the file nvml.txt beside it says.

   Lines:  init CODE        what nvmlInit returns             hang         nvmlInit does not come back
           shutdown CODE    what nvmlShutdown returns         chatty       it writes to stdout while it begins
           crash            nvmlInit ends in a signal         driver TEXT  cuda NUMBER
           count CODE       what counting the GPUs returns
           gpu CODE UUID TOTAL FREE MAJOR MINOR MIG ECC REMAP MODE NAME...
               CODE: what asking for its handle returns; MIG: 0, 1 or -1 for a GPU that has none; ECC: uncorrected errors,
               -1 for a GPU without; REMAP: 0, 1 rows pending, 2 failed; MODE: compute mode
           mig UUID TOTAL FREE NAME...    an instance of the GPU above
           process PID MIB                on what stands above
           draws PID                      it has a window, too
           works CLOCK MOST_CLOCK MILLIWATTS LIMIT OWN_LIMIT CELSIUS REASONS    the GPU above; a file without it says nothing
   A device that is asked for by its UUID is what the file says at that moment. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;
typedef struct device {
    int code, major, minor, mig, remap, mode, processes, instances;
    long long ecc;
    unsigned long long total, free;
    char uuid[96], name[96];
    process process[16];
    unsigned draws[16];
    int windows;
    struct device *instance[8], *whole;
    long long clock, most, power, limit, own, heat;
    unsigned long long reasons;
} device;

static device *devices[64];
static int count, cuda = 13000, counting, ending;
static char driver[80] = "580.95.05";

static device *add(void) {
    device *made = calloc(1, sizeof(device));
    made->clock = made->most = made->power = made->limit = made->own = made->heat = -1;
    return made;
}

int nvmlInitWithFlags(unsigned flags) {
    char line[512], path[4096];
    int code = 0;
    device *last = NULL, *d;
    Dl_info me;
    dladdr((void *)&count, &me);
    snprintf(path, sizeof path, "%.*s/nvml.txt", (int)(strrchr(me.dli_fname, '/') - me.dli_fname), me.dli_fname);
    FILE *file = fopen(path, "r");
    (void)flags;
    count = 0;
    while (file && fgets(line, sizeof line, file)) {
        unsigned long long total;
        unsigned pid;
        line[strcspn(line, "\n")] = 0;
        if (!strcmp(line, "hang")) for (;;) pause();
        if (!strcmp(line, "crash")) raise(SIGSEGV);
        if (!strcmp(line, "chatty")) dprintf(1, "NVRM: a word of warning\n");
        sscanf(line, "init %d", &code);
        sscanf(line, "shutdown %d", &ending);
        sscanf(line, "driver %79s", driver);
        sscanf(line, "cuda %d", &cuda);
        sscanf(line, "count %d", &counting);
        if (!strncmp(line, "gpu ", 4)) {
            last = d = devices[count++] = add();
            sscanf(line, "gpu %d %95s %llu %llu %d %d %d %lld %d %d %95[^\n]", &d->code, d->uuid, &d->total, &d->free,
                   &d->major, &d->minor, &d->mig, &d->ecc, &d->remap, &d->mode, d->name);
        }
        if (!strncmp(line, "mig ", 4)) {
            device *whole = devices[count - 1];
            last = d = whole->instance[whole->instances++] = add();
            d->mig = -1, d->ecc = -1;
            sscanf(line, "mig %95s %llu %llu %95[^\n]", d->uuid, &d->total, &d->free, d->name);
        }
        if (!strncmp(line, "works ", 6))
            sscanf(line, "works %lld %lld %lld %lld %lld %lld %llx", &last->clock, &last->most, &last->power,
                   &last->limit, &last->own, &last->heat, &last->reasons);
        if (sscanf(line, "process %u %llu", &pid, &total) == 2)
            last->process[last->processes++] = (process){pid, total << 20, ~0u, ~0u};
        if (sscanf(line, "draws %u", &pid) == 1) last->draws[last->windows++] = pid;
    }
    if (file) fclose(file);
    return code;
}
int nvmlShutdown(void) { return ending; }
static int text(char *to, unsigned size, const char *from) { snprintf(to, size, "%s", from); return 0; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : code == 999 ? "Unknown Error" : "an error"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return text(to, size, driver); }
int nvmlSystemGetCudaDriverVersion(int *to) { *to = cuda; return 0; }
int nvmlDeviceGetCount_v2(unsigned *to) { *to = count; return counting; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **to) {
    if ((int)index >= count) return 2;
    *to = devices[index];
    return devices[index]->code;
}
int nvmlDeviceGetName(device *d, char *to, unsigned size) { return text(to, size, d->name); }
int nvmlDeviceGetUUID(device *d, char *to, unsigned size) { return text(to, size, d->uuid); }
int nvmlDeviceGetMemoryInfo(device *d, unsigned long long *to) {
    if (d->total == 0) return 3; /* shared with the processor, which it does not count */
    to[0] = d->total << 20, to[1] = d->free << 20, to[2] = (d->total - d->free) << 20;
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor) { *major = d->major, *minor = d->minor; return 0; }
int nvmlDeviceGetMigMode(device *d, unsigned *now, unsigned *pending) {
    if (d->mig < 0) return 3; /* not supported */
    *now = *pending = d->mig;
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *to) { (void)d; *to = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned index, device **to) {
    if ((int)index >= d->instances) return 6; /* not found */
    *to = d->instance[index];
    return 0;
}
int nvmlDeviceGetComputeMode(device *d, int *to) { *to = d->mode; return 0; }
int nvmlDeviceGetRemappedRows(device *d, unsigned *a, unsigned *b, unsigned *pending, unsigned *failed) {
    *a = *b = 0, *pending = d->remap == 1, *failed = d->remap == 2;
    return 0;
}
int nvmlDeviceGetEccMode(device *d, int *now, int *pending) {
    if (d->ecc < 0) return 3;
    *now = *pending = 1;
    return 0;
}
int nvmlDeviceGetTotalEccErrors(device *d, int kind, int counter, unsigned long long *to) {
    (void)counter;
    *to = kind == 1 ? d->ecc : 0;
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *number, process *to) {
    unsigned room = *number;
    *number = d->processes;
    if (d->processes == 0) return 0;
    if (to == NULL || (int)room < d->processes) return 7; /* insufficient size */
    memcpy(to, d->process, d->processes * sizeof(process));
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, device **to) {
    nvmlInitWithFlags(0); /* what the file says now */
    for (int i = 0; i < count; i++) {
        if (!strcmp(devices[i]->uuid, uuid)) { *to = devices[i]; return devices[i]->code; }
        for (int j = 0; j < devices[i]->instances; j++)
            if (!strcmp(devices[i]->instance[j]->uuid, uuid)) {
                *to = devices[i]->instance[j];
                (*to)->whole = devices[i];
                return 0;
            }
    }
    return 6;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device *d, device **to) {
    if (!d->whole) return 2; /* invalid argument */
    *to = d->whole;
    return 0;
}
static int number(long long value, unsigned *to) {
    if (value < 0) return 3;
    *to = (unsigned)value;
    return 0;
}
int nvmlDeviceGetClockInfo(device *d, int kind, unsigned *to) { return number(kind == 1 ? d->clock : -1, to); }
int nvmlDeviceGetMaxClockInfo(device *d, int kind, unsigned *to) { return number(kind == 1 ? d->most : -1, to); }
int nvmlDeviceGetPowerUsage(device *d, unsigned *to) { return number(d->power, to); }
int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *to) { return number(d->limit, to); }
int nvmlDeviceGetPowerManagementDefaultLimit(device *d, unsigned *to) { return number(d->own, to); }
int nvmlDeviceGetTemperature(device *d, int sensor, unsigned *to) { return number(sensor == 0 ? d->heat : -1, to); }
int nvmlDeviceGetCurrentClocksEventReasons(device *d, unsigned long long *to) {
    if (d->clock < 0) return 3;
    *to = d->reasons;
    return 0;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(device *d, unsigned *number, process *to) {
    unsigned room = *number;
    *number = d->windows;
    if (d->windows == 0) return 0;
    if (to == NULL || (int)room < d->windows) return 7;
    for (int index = 0; index < d->windows; index++) to[index] = (process){d->draws[index], 0, ~0u, ~0u};
    return 0;
}
