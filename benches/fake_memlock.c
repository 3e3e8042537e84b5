/* Preloaded into crun where CAP_SYS_RESOURCE is missing: crun raises RLIMIT_MEMLOCK before it
 * loads its device program and gives up when it may not, though kernels since 5.11 do not
 * charge BPF programs to that limit. Every other limit is set as asked. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    if (resource == RLIMIT_MEMLOCK)
        return 0;
    return syscall(SYS_prlimit64, 0, resource, limit, NULL);
}

int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
    return setrlimit(resource, (const struct rlimit *)limit);
}
