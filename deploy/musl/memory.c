/* What a program copies and compares with. Those of musl copy with one instruction that is slow to begin, and compare byte
 * by byte: a quarter of the time over a large file (docs/decisions/0014). Linked before the C library, so in place of its
 * functions; the standard's contract of each holds. For any x86_64 processor: nothing newer than SSE2 is asked for, and so
 * nothing has to be looked up when the program starts. */
#include <stddef.h>
#include <stdint.h>

/* Read and written at any address. */
typedef uint16_t two __attribute__((aligned(1), may_alias));
typedef uint32_t four __attribute__((aligned(1), may_alias));
typedef uint64_t eight __attribute__((aligned(1), may_alias));
typedef long long sixteen __attribute__((vector_size(16), aligned(1), may_alias));

#define TO(type, at) (*(type *)(to + (at)))
#define FROM(type, at) (*(const type *)(from + (at)))

/* From so many bytes on, the slow beginning of the copying instruction is made good. */
enum { LONG = 1024 };

/* Whether every byte may be written before those behind it are read. */
static int forward(const char *to, const char *from, size_t n)
{
	return (uintptr_t)to - (uintptr_t)from >= n;
}

/* Both ends, of up to 64 bytes each and overlapping where they must, are read before anything is written; what lies
 * between them is copied from the side on which the target is. */
void *memmove(void *target, const void *source, size_t n)
{
	char *to = target;
	const char *from = source;

	if (n <= 16) {
		if (n >= 8) {
			eight head = FROM(eight, 0), tail = FROM(eight, n - 8);
			TO(eight, 0) = head;
			TO(eight, n - 8) = tail;
		} else if (n >= 4) {
			four head = FROM(four, 0), tail = FROM(four, n - 4);
			TO(four, 0) = head;
			TO(four, n - 4) = tail;
		} else if (n >= 2) {
			two head = FROM(two, 0), tail = FROM(two, n - 2);
			TO(two, 0) = head;
			TO(two, n - 2) = tail;
		} else if (n) {
			*to = *from;
		}
		return target;
	}
	if (n <= 32) {
		sixteen head = FROM(sixteen, 0), tail = FROM(sixteen, n - 16);
		TO(sixteen, 0) = head;
		TO(sixteen, n - 16) = tail;
		return target;
	}

	sixteen head0 = FROM(sixteen, 0), head1 = FROM(sixteen, 16);
	sixteen tail1 = FROM(sixteen, n - 32), tail0 = FROM(sixteen, n - 16);
	if (n > 64) {
		sixteen head2 = FROM(sixteen, 32), head3 = FROM(sixteen, 48);
		sixteen tail3 = FROM(sixteen, n - 64), tail2 = FROM(sixteen, n - 48);
		if (n > 128 && forward(to, from, n)) {
#ifdef __x86_64__
			if (n >= LONG) {
				char *at = to;
				const char *next = from;
				size_t words = n / 8;
				__asm__ volatile("rep movsq" : "+D"(at), "+S"(next), "+c"(words) : : "memory");
			} else
#endif
				for (size_t at = 64; at < n - 64; at += 64) {
					sixteen a = FROM(sixteen, at), b = FROM(sixteen, at + 16);
					sixteen c = FROM(sixteen, at + 32), d = FROM(sixteen, at + 48);
					TO(sixteen, at) = a;
					TO(sixteen, at + 16) = b;
					TO(sixteen, at + 32) = c;
					TO(sixteen, at + 48) = d;
				}
		} else if (n > 128) {
			for (size_t end = n - 64; end > 64; end -= 64) {
				sixteen a = FROM(sixteen, end - 64), b = FROM(sixteen, end - 48);
				sixteen c = FROM(sixteen, end - 32), d = FROM(sixteen, end - 16);
				TO(sixteen, end - 64) = a;
				TO(sixteen, end - 48) = b;
				TO(sixteen, end - 32) = c;
				TO(sixteen, end - 16) = d;
			}
		}
		TO(sixteen, 32) = head2;
		TO(sixteen, 48) = head3;
		TO(sixteen, n - 64) = tail3;
		TO(sixteen, n - 48) = tail2;
	}
	TO(sixteen, 0) = head0;
	TO(sixteen, 16) = head1;
	TO(sixteen, n - 32) = tail1;
	TO(sixteen, n - 16) = tail0;
	return target;
}

void *memcpy(void *restrict target, const void *restrict source, size_t n)
{
	return memmove(target, source, n);
}

int memcmp(const void *left, const void *right, size_t n)
{
	const unsigned char *a = left, *b = right;
	size_t at = 0;

	for (; n - at >= 8; at += 8)
		if (*(const eight *)(a + at) != *(const eight *)(b + at))
			break;
	for (; at < n; at++)
		if (a[at] != b[at])
			return a[at] - b[at];
	return 0;
}

int bcmp(const void *left, const void *right, size_t n)
{
	return memcmp(left, right, n);
}
