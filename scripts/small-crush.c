// Runs TestU01's SmallCrush on 32-bit little-endian words from standard input; with an argument, on their bits in reverse.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <TestU01.h>

static uint32_t words[1 << 16];
static size_t next, count;
static int reversed;

static unsigned int word(void) {
  if (next == count) {
    count = fread(words, sizeof words[0], sizeof words / sizeof words[0], stdin);
    next = 0;
    if (count == 0) {
      fputs("small-crush: the input ended too early\n", stderr);
      exit(1);
    }
  }
  uint32_t x = words[next++];
  if (!reversed) return x;
  x = (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
  x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(x);
}

int main(int argc, char **argv) {
  (void)argv;
  reversed = argc > 1;
  swrite_Basic = FALSE;
  unif01_Gen *generator = unif01_CreateExternGenBits(reversed ? "og1, bits reversed" : "og1", word);
  bbattery_SmallCrush(generator);
  unif01_DeleteExternGenBits(generator);
  return 0;
}
