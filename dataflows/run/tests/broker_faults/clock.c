/* The clock of one process, put forward and back by a test: what the wall clock says is moved by as many milliseconds as
 * the file that CLOCK_STEP names holds (a 64-bit integer, mapped, so that a write takes effect at once). Clocks that only
 * measure are left alone. Waits until an instant of the wall clock end when that instant is by the real clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *step_ms;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("CLOCK_STEP");
  int file = path ? open(path, O_RDONLY) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) step_ms = mapped;
}

static void move(struct timespec *time, int64_t by_ms) {
  int64_t seconds = by_ms / 1000, nanos = time->tv_nsec + by_ms % 1000 * 1000000;
  if (nanos < 0) nanos += 1000000000, seconds--;
  if (nanos >= 1000000000) nanos -= 1000000000, seconds++;
  time->tv_sec += seconds;
  time->tv_nsec = nanos;
}

static int64_t step(void) { return step_ms ? *step_ms : 0; }

int clock_gettime(clockid_t id, struct timespec *time) {
  int failed = syscall(SYS_clock_gettime, id, time);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) move(time, step());
  return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

int timespec_get(struct timespec *out, int base) {
  return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, out) == 0 ? base : 0;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  struct timespec moved = *until;
  if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  /* A wait by a clock that only measures is of instants near its own zero; it is not moved. */
  if (until->tv_sec > 1000000000) move(&moved, -step());
  return real(cond, mutex, &moved);
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
  static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
  struct timespec moved = *until;
  if (!real) real = dlsym(RTLD_NEXT, "cnd_timedwait");
  if (until->tv_sec > 1000000000) move(&moved, -step());
  return real(cond, mutex, &moved);
}
