/* Marks memory as secret, so that a branch or an address that depends on it is reported: by valgrind's memcheck, or by MSan. */
#ifndef PRIVCOMP_SECRET_H
#define PRIVCOMP_SECRET_H

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define PRIVCOMP_MSAN 1
#endif
#endif

#ifdef PRIVCOMP_MSAN
#include <sanitizer/msan_interface.h>
#define SECRET(p, n) __msan_allocated_memory((p), (n))
#define PUBLIC(p, n) __msan_unpoison((p), (n))
#else
#include <valgrind/memcheck.h>
#define SECRET(p, n) VALGRIND_MAKE_MEM_UNDEFINED((p), (n))
#define PUBLIC(p, n) VALGRIND_MAKE_MEM_DEFINED((p), (n))
#endif

#endif
