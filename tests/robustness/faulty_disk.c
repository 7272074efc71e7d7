/* For LD_PRELOAD: writing and syncing the files below FAULT_FOLDER does what the file FAULT_CONTROL says at that moment.

   empty, or no file   what it does anyway
   a number            it fails with this errno
   wait                it waits until the file says something else */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int failing(int fd)
{
    const char *folder = getenv("FAULT_FOLDER"), *control = getenv("FAULT_CONTROL");
    char link[40], path[4096], text[16];
    ssize_t size;
    if (!folder || !control)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    if (strncmp(path, folder, strlen(folder)))
        return 0;
    for (;;) {
        FILE *file = fopen(control, "r");
        text[0] = 0;
        if (file) {
            if (!fgets(text, sizeof text, file))
                text[0] = 0;
            fclose(file);
        }
        if (strncmp(text, "wait", 4))
            break;
        usleep(2000);
    }
    errno = atoi(text);
    return errno;
}

#define REPLACED(name, type, declared, given)                     \
    type name declared                                            \
    {                                                             \
        static type (*real) declared;                             \
        if (!real)                                                \
            real = (type (*) declared)dlsym(RTLD_NEXT, #name);    \
        return failing(fd) ? -1 : real given;                     \
    }

REPLACED(write, ssize_t, (int fd, const void *data, size_t size), (fd, data, size))
REPLACED(pwrite, ssize_t, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
REPLACED(pwrite64, ssize_t, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
REPLACED(fsync, int, (int fd), (fd))
REPLACED(fdatasync, int, (int fd), (fd))
