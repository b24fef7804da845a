/* The functions of deploy/musl/memory.c, compiled under names of their own, beside the plainest ones that are right. */
#include <stdio.h>
#include <stdlib.h>

void *ours_memmove(void *, const void *, size_t);
void *ours_memcpy(void *, const void *, size_t);
int ours_memcmp(const void *, const void *, size_t);
int ours_bcmp(const void *, const void *, size_t);

enum { ROOM = 10000, SPAN = 200 };

static unsigned char before[ROOM], after[ROOM], plain[ROOM];

static void fail(const char *what, size_t n, size_t to, size_t from)
{
	fprintf(stderr, "%s of %zu bytes, to %zu from %zu\n", what, n, to, from);
	exit(1);
}

static void moved(size_t n, size_t to, size_t from)
{
	int apart = to + n <= from || from + n <= to;
	/* What lies further away is not looked at. */
	size_t end = (to > from ? to : from) + n + 100, start = to > 100 ? to - 100 : 0;

	for (int copy = 0; copy <= apart; copy++) {
		for (size_t i = 0; i < end; i++)
			plain[i] = after[i] = before[i];
		for (size_t i = 0; i < n; i++)
			plain[to + i] = before[from + i];
		void *back = copy ? ours_memcpy(after + to, after + from, n) : ours_memmove(after + to, after + from, n);
		if (back != after + to)
			fail("result", n, to, from);
		for (size_t i = start; i < end; i++)
			if (after[i] != plain[i])
				fail(copy ? "memcpy" : "memmove", n, to, from);
	}
}

static int sign(int value)
{
	return (value > 0) - (value < 0);
}

static void compared(size_t n, size_t left, size_t right)
{
	unsigned char *a = after + left, *b = after + 2 * SPAN + right;

	for (size_t i = 0; i < n; i++)
		a[i] = b[i] = before[i];
	/* What lies behind them differs, and does not count. */
	a[n] = 1;
	b[n] = 2;
	if (ours_memcmp(a, b, n) || ours_bcmp(a, b, n))
		fail("memcmp of equals", n, left, right);
	for (size_t at = 0; at < n; at++) {
		static const unsigned char pairs[][2] = { { 0, 1 }, { 1, 0 }, { 127, 128 }, { 255, 0 }, { 128, 255 } };

		for (size_t pair = 0; pair < sizeof pairs / sizeof *pairs; pair++) {
			a[at] = pairs[pair][0];
			b[at] = pairs[pair][1];
			/* A later difference the other way round does not count. */
			if (at + 1 < n)
				a[n - 1] = pairs[pair][1], b[n - 1] = pairs[pair][0];
			if (sign(ours_memcmp(a, b, n)) != sign(pairs[pair][0] - pairs[pair][1]) || !ours_bcmp(a, b, n))
				fail("memcmp", n, left, right);
		}
		a[at] = b[at] = before[at];
		a[n - 1] = b[n - 1] = before[n - 1];
	}
}

/* In memory that ends with the last byte: a sanitizer sees a step too far. */
static void within(size_t n)
{
	unsigned char *from = malloc(n), *to = malloc(n);

	for (size_t i = 0; i < n; i++)
		from[i] = before[i];
	ours_memcpy(to, from, n);
	if (ours_memcmp(to, from, n) || ours_bcmp(from, to, n))
		fail("memcpy", n, 0, 0);
	ours_memmove(to, to + n / 3, n - n / 3);
	ours_memmove(from + n / 5, from, n - n / 5);
	free(from);
	free(to);
}

int main(void)
{
	static const size_t large[] = { 511, 512, 513, 1023, 1024, 1025, 1031, 2048, 4096, 4099 };

	srand(1);
	for (size_t i = 0; i < ROOM; i++)
		before[i] = (unsigned char)rand();
	for (size_t n = 0; n <= 300; n++) {
		for (size_t from = SPAN - 2; from < SPAN + 2; from++)
			for (size_t to = 0; to <= 2 * SPAN; to += n > 140 ? 7 : 3)
				moved(n, to, from);
		moved(n, 1000 + n % 16, 5);
		moved(n, 5, 1000 + n % 16);
	}
	for (size_t i = 0; i < sizeof large / sizeof *large; i++)
		for (size_t shift = 0; shift < 70; shift++) {
			moved(large[i], 100 + shift, 100);
			moved(large[i], 100, 100 + shift);
			moved(large[i], 100 + shift, 5000);
		}
	for (size_t n = 0; n <= 2100; n++)
		within(n);
	for (size_t n = 0; n <= 80; n++)
		for (size_t left = 0; left < 9; left++)
			for (size_t right = 0; right < 9; right++)
				compared(n, left, right);
	puts("right");
	return 0;
}
