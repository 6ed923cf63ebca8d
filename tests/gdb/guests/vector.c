/* Known values in x87, SSE and AVX registers; the status says whether a debugger changed what it was told to. */
#include <stdint.h>
#include <string.h>
static uint8_t in[32], out[32], low[16];
static double half = 0.5;
int main(void) {
    for (int i = 0; i < 32; i++) in[i] = (uint8_t)(i + 1);
    __asm__ volatile(
        "vmovdqu %[in], %%ymm3\n"
        "movdqu %[in], %%xmm5\n"
        "fldl %[half]\n fldpi\n"
        ".globl loaded\n loaded: nop\n"
        "vmovdqu %%ymm3, %[out]\n"
        "movdqu %%xmm5, %[low]\n"
        "fstp %%st(0)\n fstp %%st(0)\n vzeroupper\n"
        : [out] "=m"(out), [low] "=m"(low) : [in] "m"(in), [half] "m"(half) : "xmm3", "xmm5", "memory");
    return (out[0] == 0x55 && out[31] == 0x66 ? 40 : 0) + (low[3] == 0x77);
}
