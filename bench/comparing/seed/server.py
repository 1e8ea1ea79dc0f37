"""A seed-like server: the master accepts, a queue carries sockets to workers, each serves one connection at a time.

The least of the Python system that Metronome replaces, as the baseline. Prints packets and CPU seconds: of the
workers' loops, and of the master from its first connection on."""

import multiprocessing
import multiprocessing.reduction  # lets sockets travel through the queue
import socket
import sys
import time


def worker(connections, results):
    connection, _ = connections.get()
    cpu_before_s, total, last = time.process_time(), 0, time.time()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
    while data := connection.recv(4096):
        total += len(data)
        if time.time() - last >= 1.0:
            last = time.time()
    results.put((total // 32, time.process_time() - cpu_before_s))


def main():
    port, clients = int(sys.argv[1]), int(sys.argv[2])
    connections, results = multiprocessing.Queue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=worker, args=(connections, results)) for _ in range(clients)]
    for process in workers:
        process.start()
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    listener.setblocking(False)
    print("ready", flush=True)
    cpu_before_s, ended = None, []
    while len(ended) < clients:
        try:
            connections.put(listener.accept())
            cpu_before_s = cpu_before_s or time.process_time()
        except BlockingIOError:
            time.sleep(0.001)
        while not results.empty():
            ended.append(results.get())
    packets, cpu_s = map(sum, zip(*ended))
    print(f'{{"packets": {packets}, "cpu_s": {cpu_s + time.process_time() - cpu_before_s:.6f}}}')


main()
