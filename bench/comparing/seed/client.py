"""A seed-like client: one process per connection, rate / 200 packets a write, paced by time.sleep.

The least of the Python system that Metronome replaces, as the baseline. Prints packets and CPU seconds of the loops."""

import multiprocessing
import socket
import sys
import time


def client(port, rate_hz, seconds, results):
    batch = max(1, int(rate_hz / 200))
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    packets = b"X" * 32 * batch
    sent, cpu_before_s = 0, time.process_time()
    start = due = time.time()
    while time.time() - start < seconds:
        now = time.time()
        if now >= due:
            connection.sendall(packets)
            sent += batch
            due += batch / rate_hz
        else:
            time.sleep(due - now)
    results.put((sent, time.process_time() - cpu_before_s))
    connection.close()


def main():
    port, seconds, clients, rate_hz = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    results = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=client, args=(port, rate_hz, seconds, results)) for _ in range(clients)]
    for process in processes:
        process.start()
    packets, cpu_s = map(sum, zip(*[results.get() for _ in processes]))
    for process in processes:
        process.join()
    print(f'{{"packets": {packets}, "cpu_s": {cpu_s:.6f}}}')


main()
