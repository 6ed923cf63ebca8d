/* Prints one line. */
#include <stdio.h>

int main(void)
{
    return puts("Hello World, I am ToroV!") == EOF || fflush(stdout) == EOF;
}
