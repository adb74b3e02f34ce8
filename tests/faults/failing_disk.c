// A disk that fails: preloaded, it counts the writes or syncs of files under a folder, and has one of them go wrong.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2 };
enum { NO_SUCH_CALL = 0, ONCE = 1, FROM_THEN_ON = 2, DIE = 3 };

static char root[PATH_MAX];
static int kind, at, how, number_of_error, calls;

// Have call number `first` of a kind fail, counted from now on, with an errno; `manner` is one of the above.
void disk_fail(const char* folder, int which, int first, int manner, int error) {
  snprintf(root, sizeof root, "%s", folder);
  kind = which, at = first, how = manner, number_of_error = error, calls = 0;
}

int disk_calls(void) { return calls; }

static int concerns(int fd, int which) {
  char name[64], path[PATH_MAX];
  if (which != kind || how == NO_SUCH_CALL) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  const int saved = errno;
  const ssize_t length = readlink(name, path, sizeof path - 1);
  errno = saved;
  return length > 0 && !strncmp(path, root, strlen(root));
}

// 0: all is well; 1: this call goes wrong.
static int strikes(int fd, int which) {
  if (!concerns(fd, which)) return 0;
  ++calls;
  return calls == at || (how == FROM_THEN_ON && calls > at);
}

static ssize_t fail(void) {
  if (how == DIE) kill(getpid(), SIGKILL);
  errno = number_of_error;
  return -1;
}

#define REAL(name) ((__typeof__(name)*)dlsym(RTLD_NEXT, #name))

// A write that goes wrong has written half of its bytes, as one that meets the end of a disk.
ssize_t write(int fd, const void* data, size_t size) {
  if (!strikes(fd, WRITES)) return REAL(write)(fd, data, size);
  REAL(write)(fd, data, size / 2);
  return fail();
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t place) {
  if (!strikes(fd, WRITES)) return REAL(pwrite)(fd, data, size, place);
  REAL(pwrite)(fd, data, size / 2, place);
  return fail();
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t place) {
  if (!strikes(fd, WRITES)) return REAL(pwrite64)(fd, data, size, place);
  REAL(pwrite64)(fd, data, size / 2, place);
  return fail();
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  return strikes(fd, WRITES) ? fail() : REAL(writev)(fd, parts, count);
}

int fsync(int fd) { return strikes(fd, SYNCS) ? (int)fail() : REAL(fsync)(fd); }

int fdatasync(int fd) { return strikes(fd, SYNCS) ? (int)fail() : REAL(fdatasync)(fd); }
