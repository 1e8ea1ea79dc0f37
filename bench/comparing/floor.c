// The floor: the least CPU time that the kernel needs for this work, without a product around it.
//
//   floor sink PORT SECONDS MODE             MODE: epoll, a wake-up per packet; drain:US, wake every US µs and read all
//   floor gen  PORT SECONDS CONNECTIONS HZ   one thread, one wake-up per period, one send per packet of 32 bytes
//
// Prints one JSON object: packets, CPU seconds of the loop (user and kernel), and for gen the lateness of
// each wake-up against its schedule, µs. Packets are deliberately not stamped, checked or counted.
// Deliberately absent: io_uring, which gains nothing at one packet per wake-up.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_BYTES = 32, CONNECTIONS_MAX = 4096, EVENTS_MAX = 256 };

static long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static double cpu_s(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static int by_value(const void *a, const void *b) {
  long x = *(const long *)a, y = *(const long *)b;
  return (x > y) - (x < y);
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void must(int failed, const char *what) {
  if (failed) {
    perror(what);
    exit(1);
  }
}

// Reads until the last connection has ended, for at most `seconds`.
static void sink(int port, double seconds, const char *mode) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, poller = epoll_create1(0);
  struct sockaddr_in address = loopback(port);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  must(bind(listener, (void *)&address, sizeof address), "bind");
  must(listen(listener, 1024), "listen");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS_MAX];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  long drain_us = strncmp(mode, "drain:", 6) == 0 ? atol(mode + 6) : 0;
  if (drain_us) prctl(PR_SET_TIMERSLACK, 1);
  puts("ready");
  fflush(stdout);

  static char buffer[1 << 18];
  long bytes = 0, reads = 0, open = 0, seen = 0, end_ns = now_ns() + (long)(seconds * 1e9);
  double cpu_before_s = cpu_s();
  while (now_ns() < end_ns && (open || !seen)) {
    int ready = epoll_wait(poller, events, EVENTS_MAX, drain_us ? 0 : 100);
    for (int i = 0; i < ready; i++) {
      int from = events[i].data.fd;
      if (from == listener) {
        event.data.fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
        epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event);
        open++, seen++;
        continue;
      }
      ssize_t taken = read(from, buffer, sizeof buffer);
      if (taken > 0)
        bytes += taken, reads++;
      else if (taken == 0 || errno != EAGAIN)
        close(from), open--;
    }
    if (drain_us) usleep(drain_us);
  }
  printf("{\"packets\": %ld, \"reads\": %ld, \"cpu_s\": %.6f}\n", bytes / PACKET_BYTES, reads, cpu_s() - cpu_before_s);
}

static void gen(int port, double seconds, int connections, double rate_hz) {
  static int sockets[CONNECTIONS_MAX];
  struct sockaddr_in address = loopback(port);
  int one = 1;
  for (int i = 0; i < connections; i++) {
    sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    must(connect(sockets[i], (void *)&address, sizeof address), "connect");
  }
  prctl(PR_SET_TIMERSLACK, 1);
  char packet[PACKET_BYTES];
  memset(packet, 'X', sizeof packet);
  long period_ns = (long)(1e9 / rate_hz), periods = (long)(seconds * rate_hz), sent = 0;
  long *late_ns = malloc(periods * sizeof *late_ns);

  double cpu_before_s = cpu_s();
  long start_ns = now_ns() + 1000000;
  for (long k = 0; k < periods; k++) {
    long due_ns = start_ns + k * period_ns, now = now_ns();
    if (now < due_ns) {
      struct timespec until = {due_ns / 1000000000L, due_ns % 1000000000L};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
      now = now_ns();
    }
    late_ns[k] = now - due_ns;
    for (int i = 0; i < connections; i++) sent += send(sockets[i], packet, sizeof packet, 0) == PACKET_BYTES;
  }
  double cpu = cpu_s() - cpu_before_s;
  qsort(late_ns, periods, sizeof *late_ns, by_value);
  printf("{\"packets\": %ld, \"scheduled\": %ld, \"cpu_s\": %.6f, \"late_p50_us\": %.1f, \"late_p99_us\": %.1f}\n", sent,
         periods * connections, cpu, late_ns[periods / 2] / 1e3, late_ns[periods * 99 / 100] / 1e3);
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN);
  if (count == 5 && !strcmp(words[1], "sink")) {
    sink(atoi(words[2]), atof(words[3]), words[4]);
  } else if (count == 6 && !strcmp(words[1], "gen") && atoi(words[4]) <= CONNECTIONS_MAX && atof(words[3]) * atof(words[5]) >= 1) {
    gen(atoi(words[2]), atof(words[3]), atoi(words[4]), atof(words[5]));
  } else {
    fprintf(stderr, "usage: floor sink PORT SECONDS epoll|drain:US, floor gen PORT SECONDS CONNECTIONS HZ\n");
    return 2;
  }
  return 0;
}
