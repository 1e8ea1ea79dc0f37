// The neutral reader: takes what any generator sends and judges its pacing by one clock, its own.
//
//   reader PORT SECONDS CONNECTIONS HZ [RELAY_PORT]
//
// Every 32 bytes of a connection are a packet that arrived when they were read (CLOCK_MONOTONIC). Per connection,
// |gap to the packet before - period| is the gap error, and arrival - (start + n x period) the lateness, the start
// being the latest one for which no packet is early. Prints one JSON object, µs, over all connections.
//
// So that it does not become the limit itself, it never sleeps where there is a second core (a wake-up takes longer than
// the times to be judged), and uses nice -15 where permitted: a real-time process that never sleeps would be stopped for
// 50 ms of every second. About itself it reports the longest time between two reads while all senders were connected, and
// how many packets came in one read with another packet of their connection: its own delay or the generator's.
//
// With RELAY_PORT it stands in front of an iperf3 server: the first connection (control) is relayed both ways; of the
// others only the cookie of 37 bytes is relayed, and the rest is read here. So iperf3 is judged like all others.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_BYTES = 32, COOKIE_BYTES = 37, PEERS_MAX = 256, EVENTS_MAX = 256 };

struct peer {
  int socket;   // -1: closed
  int relay;    // where its first bytes go; -1: nowhere
  long preface; // bytes that still go there; -1: all
  long bytes;   // read here, without the preface
  long packets;
  long room;
  long *arrival_ns;
};

static struct peer peers[PEERS_MAX];
static int peer_count, open_count, poller;

// State of the reader: connections whose packets are judged, those expected, and the figures about itself.
static int judged_count, expected_count;
static long last_read_ns, longest_gap_ns, packets_together;

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

static void watch(int socket, int relay, long preface, long room) {
  must(peer_count == PEERS_MAX, "too many connections");
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = peer_count + 1};
  peers[peer_count++] = (struct peer){socket, relay, preface, 0, 0, room, room ? malloc(room * sizeof(long)) : NULL};
  judged_count += room > 0;
  epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event);
  open_count++;
}

static void take_in(int listener, int relay_port, long room) {
  int from = accept4(listener, 0, 0, SOCK_NONBLOCK);
  must(from < 0, "accept");
  if (!relay_port) {
    watch(from, -1, 0, room);
    return;
  }
  int control = peer_count == 0, to = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = loopback(relay_port);
  must(connect(to, (void *)&address, sizeof address), "connect to the iperf3 server");
  watch(from, to, control ? -1 : COOKIE_BYTES, control ? 0 : room);
  watch(to, from, -1, 0);
}

static void end(struct peer *peer) {
  if (peer->relay >= 0) shutdown(peer->relay, SHUT_WR);
  epoll_ctl(poller, EPOLL_CTL_DEL, peer->socket, NULL);
  open_count--;
  judged_count -= peer->room > 0;
  last_read_ns = 0;
  peer->socket = -1;
}

static void look_at_myself(long now, long packets) {
  if (judged_count == expected_count) {
    if (last_read_ns && now - last_read_ns > longest_gap_ns) longest_gap_ns = now - last_read_ns;
    last_read_ns = now;
  }
  if (packets > 1) packets_together += packets;
}

static void take(struct peer *peer) {
  static char buffer[1 << 18];
  ssize_t taken = read(peer->socket, buffer, sizeof buffer);
  long now = now_ns();
  if (taken < 0 && errno == EAGAIN) return;
  if (taken <= 0) {
    end(peer);
    return;
  }
  long relayed = peer->preface < 0 || peer->preface > taken ? taken : peer->preface;
  for (long at = 0; at < relayed;) {
    ssize_t gone = send(peer->relay, buffer + at, relayed - at, MSG_NOSIGNAL);
    if (gone <= 0) break;
    at += gone;
  }
  if (peer->preface > 0) peer->preface -= relayed;
  peer->bytes += taken - relayed;
  if (peer->room) look_at_myself(now, peer->bytes / PACKET_BYTES - peer->packets);
  for (; peer->packets < peer->bytes / PACKET_BYTES && peer->packets < peer->room; peer->packets++)
    peer->arrival_ns[peer->packets] = now;
}

static int by_value(const void *a, const void *b) {
  long x = *(const long *)a, y = *(const long *)b;
  return (x > y) - (x < y);
}

static void print_quantiles(const char *name, long *values, long count) {
  qsort(values, count, sizeof *values, by_value);
  if (!count) count = 1, values[0] = 0;
  printf(", \"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"p99_9\": %.1f, \"max\": %.1f}", name, values[count / 2] / 1e3,
         values[count * 99 / 100] / 1e3, values[count * 999 / 1000] / 1e3, values[count - 1] / 1e3);
}

static void judge(double period_ns, int spins, int is_first) {
  long total = 0, gaps = 0, n = 0;
  for (int i = 0; i < peer_count; i++) total += peers[i].packets;
  long *error_ns = malloc((total + 1) * sizeof(long)), *late_ns = malloc((total + 1) * sizeof(long));
  for (struct peer *peer = peers; peer < peers + peer_count; peer++) {
    double start_ns = 1e300;
    for (long k = 0; k < peer->packets; k++) {
      double start = peer->arrival_ns[k] - k * period_ns;
      if (start < start_ns) start_ns = start;
    }
    for (long k = 0; k < peer->packets; k++) {
      late_ns[n++] = peer->arrival_ns[k] - k * period_ns - start_ns;
      if (k) error_ns[gaps++] = labs(peer->arrival_ns[k] - peer->arrival_ns[k - 1] - (long)period_ns);
    }
  }
  printf("{\"packets\": %ld", total);
  print_quantiles("gap_error_us", error_ns, gaps);
  print_quantiles("late_us", late_ns, n);
  printf(", \"reader\": {\"waits\": \"%s, %s\", \"longest_gap_us\": %.1f, \"packets_together\": %ld}}\n",
         spins ? "spinning" : "asleep", is_first ? "nice -15" : "no priority", longest_gap_ns / 1e3, packets_together);
}

int main(int count, char **words) {
  if (count < 5 || atof(words[4]) <= 0) {
    fprintf(stderr, "usage: reader PORT SECONDS CONNECTIONS HZ [RELAY_PORT]\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  int is_first = !setpriority(PRIO_PROCESS, 0, -15), spins = sysconf(_SC_NPROCESSORS_ONLN) > 1;
  double seconds = atof(words[2]), rate_hz = atof(words[4]);
  expected_count = atoi(words[3]);
  int relay_port = count > 5 ? atoi(words[5]) : 0, one = 1;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = loopback(atoi(words[1]));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  must(bind(listener, (void *)&address, sizeof address), "bind");
  must(listen(listener, 1024), "listen");
  poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = 0}, events[EVENTS_MAX];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  puts("ready");
  fflush(stdout);

  // Twice the packets that the schedule has, so that a generator that sends more is noticed.
  long room = (long)(2 * seconds * rate_hz) + 1024, end_ns = now_ns() + (long)(seconds * 1e9) + 10000000000L;
  int all = relay_port ? 2 * (expected_count + 1) : expected_count;
  while (now_ns() < end_ns && (open_count || peer_count < all)) {
    int ready = epoll_wait(poller, events, EVENTS_MAX, spins ? 0 : 100);
    for (int i = 0; i < ready; i++) {
      unsigned who = events[i].data.u32;
      if (who == 0)
        take_in(listener, relay_port, room);
      else if (peers[who - 1].socket >= 0)
        take(&peers[who - 1]);
    }
  }
  judge(1e9 / rate_hz, spins, is_first);
  return 0;
}
