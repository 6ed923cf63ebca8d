/* Writes "hola" to a file: WriteFile [PATH], by default /test. */
#include <stdio.h>

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/test";
    FILE *file = fopen(path, "w");

    if (!file || fputs("hola", file) == EOF || fclose(file) == EOF) {
        perror(path);
        return 1;
    }
    return 0;
}
