/* Like the programs in other languages: the sum of x * (x % 997). */
#include <stdint.h>
#include <stdio.h>

int main(void)
{
    uint64_t sums[997] = {0}, total = 0;

    for (uint64_t x = 1; x <= 300000; x++)
        sums[x % 997] += x;
    for (uint64_t i = 0; i < 997; i++)
        total += i * sums[i];
    printf("%llu\n", (unsigned long long)total);
    return 0;
}
