/* Python whose first library is the sanitizer's, which a sanitized core in a module needs. */
#define _GNU_SOURCE
#include <Python.h>
#include <dlfcn.h>

/* The sanitizer refuses RTLD_DEEPBIND, with which capstone loads its library. */
void *dlopen(const char *file, int flags) {
    void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    return next(file, flags & ~RTLD_DEEPBIND);
}

int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
