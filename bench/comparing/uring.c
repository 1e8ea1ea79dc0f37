// The experiment with io_uring for the read path: the same stamped packets, read by epoll or by io_uring.
//
//   uring read PORT SECONDS epoll|epoll:US|uring|uring:US
//   uring send PORT SECONDS CONNECTIONS HZ
//   uring check                                     may this process create such a ring, and does the kernel support all of it?
//
// epoll: a wake-up, then a read of each ready connection. uring: one multishot receive per connection into provided
// buffers, completions taken by the waiting thread itself (DEFER_TASKRUN). With US, reads are batched over that time: epoll
// by a sleep between two batches, uring by a bounded wait (min_wait_usec, Linux 6.12). Both read the clock once per receive
// and look at the stamp of each packet, so that both report the time from just before its send to after its receive.
//
// Prints one JSON object: packets, receives, waits, CPU seconds of the loop and the kernel's share of it, transit µs.
// Deliberately absent: checking and counting, which cost both readers the same, and any recovery.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
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

enum { PACKET_BYTES = 32, CONNECTIONS_MAX = 1024, EVENTS_MAX = 256 };
enum { RING_ENTRIES = 256, COMPLETIONS = 4096, BUFFERS = 1024, BUFFER_BYTES = 4096, WAIT_MAX_MS = 100 };
// IORING_FEAT_MIN_TIMEOUT, which older headers do not define.
enum { FEATURE_MIN_WAIT = 1 << 15 };

// What a reader has received.
static long bytes, receives, waits, packets_max;
static long *transit_ns, packets;
static int open_count, seen_count;
// Bytes of a split packet, by descriptor.
static char rests[CONNECTIONS_MAX][PACKET_BYTES];
static int rest_bytes[CONNECTIONS_MAX];

static long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void must(int failed, const char *what) {
  if (failed) {
    perror(what);
    exit(1);
  }
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void opened(int connection) {
  must(connection < 0 || connection >= CONNECTIONS_MAX, "accept");
  open_count++, seen_count++;
  rest_bytes[connection] = 0;
}

static void take_packet(const char *packet, long now) {
  long stamp_ns;
  memcpy(&stamp_ns, packet, sizeof stamp_ns);
  if (packets < packets_max) transit_ns[packets] = now - stamp_ns;
  packets++;
}

static void take(int connection, const char *data, long count) {
  long now = now_ns(), at = 0;
  bytes += count, receives++;
  int *rest = &rest_bytes[connection];
  if (*rest) {
    long more = PACKET_BYTES - *rest < count ? PACKET_BYTES - *rest : count;
    memcpy(rests[connection] + *rest, data, more);
    at = more, *rest += more;
    if (*rest < PACKET_BYTES) return;
    take_packet(rests[connection], now);
    *rest = 0;
  }
  for (; at + PACKET_BYTES <= count; at += PACKET_BYTES) take_packet(data + at, now);
  if (at < count) memcpy(rests[connection], data + at, *rest = count - at);
}

static void read_by_epoll(int listener, long end_ns, long gather_us) {
  static char buffer[1 << 18];
  int poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS_MAX];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  while (now_ns() < end_ns && (open_count || !seen_count)) {
    int ready = epoll_wait(poller, events, EVENTS_MAX, WAIT_MAX_MS);
    waits++;
    for (int i = 0; i < ready; i++) {
      int from = events[i].data.fd;
      if (from == listener) {
        opened(event.data.fd = accept4(listener, 0, 0, SOCK_NONBLOCK));
        epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event);
        continue;
      }
      ssize_t taken = read(from, buffer, sizeof buffer);
      if (taken > 0)
        take(from, buffer, taken);
      else if (taken == 0 || errno != EAGAIN)
        close(from), open_count--;
    }
    if (gather_us) usleep(gather_us);
  }
}

// The argument of io_uring_enter with a lower bound of the wait, which older headers do not define.
struct bounded_wait {
  unsigned long long signals;
  unsigned signals_bytes, min_wait_us;
  unsigned long long timeout;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static char buffers[BUFFERS][BUFFER_BYTES];

static struct io_uring_sqe *submission(void) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
  must(!entry, "no room for a submission");
  return entry;
}

// A multishot receive: it repeats, into any free buffer.
static void receive(int connection) {
  struct io_uring_sqe *entry = submission();
  io_uring_prep_recv_multishot(entry, connection, NULL, 0, 0);
  entry->flags |= IOSQE_BUFFER_SELECT;
  io_uring_sqe_set_data64(entry, connection);
}

static void set_up_ring(void) {
  struct io_uring_params wanted = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                   .cq_entries = COMPLETIONS};
  errno = -io_uring_queue_init_params(RING_ENTRIES, &ring, &wanted);
  must(errno, "io_uring_setup");
  errno = wanted.features & FEATURE_MIN_WAIT ? 0 : ENOSYS;
  must(errno, "io_uring's min_wait_usec");
  must(posix_memalign((void **)&buffer_ring, 4096, BUFFERS * sizeof(struct io_uring_buf)), "memory");
  struct io_uring_buf_reg lies = {.ring_addr = (unsigned long)buffer_ring, .ring_entries = BUFFERS};
  errno = -io_uring_register_buf_ring(&ring, &lies, 0);
  must(errno, "provided buffers");
  io_uring_buf_ring_init(buffer_ring);
  for (int i = 0; i < BUFFERS; i++) io_uring_buf_ring_add(buffer_ring, buffers[i], BUFFER_BYTES, i, BUFFERS - 1, i);
  io_uring_buf_ring_advance(buffer_ring, BUFFERS);
}

static void take_in(int listener) {
  struct io_uring_sqe *entry = submission();
  io_uring_prep_multishot_accept(entry, listener, NULL, NULL, 0);
  io_uring_sqe_set_data64(entry, listener);
}

static void wait_for_completions(long gather_us) {
  struct __kernel_timespec most = {.tv_nsec = WAIT_MAX_MS * 1000000L};
  struct bounded_wait bounds = {.min_wait_us = gather_us, .timeout = (unsigned long)&most};
  // With a lower bound: waits until as many as this loop takes are there or the bound is over, then for one.
  unsigned wanted = gather_us ? EVENTS_MAX : 1;
  unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  if (io_uring_sq_ready(&ring)) io_uring_submit(&ring);
  int done = io_uring_enter2(ring.ring_fd, 0, wanted, flags, (void *)&bounds, sizeof bounds);
  must(done < 0 && done != -ETIME && done != -EINTR, "io_uring_enter");
  waits++;
}

static void complete(int listener, struct io_uring_cqe *done) {
  int from = done->user_data;
  if (from == listener) {
    opened(done->res);
    receive(done->res);
    return;
  }
  if (done->res > 0) {
    int number = done->flags >> IORING_CQE_BUFFER_SHIFT;
    take(from, buffers[number], done->res);
    io_uring_buf_ring_add(buffer_ring, buffers[number], BUFFER_BYTES, number, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
  }
  if (done->flags & IORING_CQE_F_MORE) return;
  if (done->res > 0 || done->res == -ENOBUFS)
    receive(from);
  else
    close(from), open_count--;
}

static void read_by_uring(int listener, long end_ns, long gather_us) {
  set_up_ring();
  take_in(listener);
  while (now_ns() < end_ns && (open_count || !seen_count)) {
    wait_for_completions(gather_us);
    struct io_uring_cqe *done;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&ring, head, done) {
      complete(listener, done);
      count++;
    }
    io_uring_cq_advance(&ring, count);
  }
}

static double seconds_of(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

static int by_value(const void *a, const void *b) {
  long x = *(const long *)a, y = *(const long *)b;
  return (x > y) - (x < y);
}

static void read_packets(int port, double seconds, const char *mode) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in address = loopback(port);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  must(bind(listener, (void *)&address, sizeof address), "bind");
  must(listen(listener, CONNECTIONS_MAX), "listen");
  prctl(PR_SET_TIMERSLACK, 1);
  const char *colon = strchr(mode, ':');
  long gather_us = colon ? atol(colon + 1) : 0, end_ns = now_ns() + (long)(seconds * 1e9);
  packets_max = 1 << 24, transit_ns = malloc(packets_max * sizeof *transit_ns);
  puts("ready");
  fflush(stdout);
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  if (mode[0] == 'u')
    read_by_uring(listener, end_ns, gather_us);
  else
    read_by_epoll(listener, end_ns, gather_us);
  getrusage(RUSAGE_SELF, &after);
  double user_s = seconds_of(after.ru_utime) - seconds_of(before.ru_utime);
  double kernel_s = seconds_of(after.ru_stime) - seconds_of(before.ru_stime);
  long known = packets < packets_max ? packets : packets_max;
  qsort(transit_ns, known, sizeof *transit_ns, by_value);
  if (!known) known = 1, transit_ns[0] = 0;
  printf("{\"packets\": %ld, \"bytes\": %ld, \"receives\": %ld, \"waits\": %ld, \"cpu_s\": %.6f, \"kernel_s\": %.6f, "
         "\"transit_p50_us\": %.1f, \"transit_p99_us\": %.1f}\n",
         packets, bytes, receives, waits, user_s + kernel_s, kernel_s, transit_ns[known / 2] / 1e3,
         transit_ns[known * 99 / 100] / 1e3);
}

static void send_packets(int port, double seconds, int connections, double rate_hz) {
  static int sockets[CONNECTIONS_MAX];
  struct sockaddr_in address = loopback(port);
  int one = 1;
  for (int i = 0; i < connections; i++) {
    sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    must(connect(sockets[i], (void *)&address, sizeof address), "connect");
  }
  prctl(PR_SET_TIMERSLACK, 1);
  char packet[PACKET_BYTES] = {0};
  long periods = (long)(seconds * rate_hz), sent = 0, start_ns = now_ns() + 1000000;
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  for (long k = 0; k < periods; k++) {
    long due_ns = start_ns + (long)(k * (1e9 / rate_hz));
    struct timespec until = {due_ns / 1000000000L, due_ns % 1000000000L};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
    for (int i = 0; i < connections; i++) {
      long stamp_ns = now_ns();
      memcpy(packet, &stamp_ns, sizeof stamp_ns);
      sent += send(sockets[i], packet, sizeof packet, 0) == PACKET_BYTES;
    }
  }
  getrusage(RUSAGE_SELF, &after);
  double cpu_s = seconds_of(after.ru_utime) - seconds_of(before.ru_utime) + seconds_of(after.ru_stime) - seconds_of(before.ru_stime);
  printf("{\"packets\": %ld, \"cpu_s\": %.6f}\n", sent, cpu_s);
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN);
  if (count == 5 && !strcmp(words[1], "read")) {
    read_packets(atoi(words[2]), atof(words[3]), words[4]);
  } else if (count == 6 && !strcmp(words[1], "send") && atoi(words[4]) < CONNECTIONS_MAX - 16 && atof(words[5]) > 0) {
    send_packets(atoi(words[2]), atof(words[3]), atoi(words[4]), atof(words[5]));
  } else if (count == 2 && !strcmp(words[1], "check")) {
    set_up_ring();
  } else {
    fprintf(stderr, "usage: uring check, uring read PORT SECONDS epoll|epoll:US|uring|uring:US, uring send PORT SECONDS CONNECTIONS HZ\n");
    return 2;
  }
  return 0;
}
