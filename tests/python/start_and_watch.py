"""Starts a run and streams its snapshots, given nothing but the server's address.

Usage: start_and_watch.py HOST:PORT [CLIENTS [RATE_HZ [SECONDS]]]

Everything else comes from server reflection (pip install grpcio grpcio-reflection). Exits 0 when
the run was valid, snapshots came at least once a second and their counters never fell.
"""

import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def main() -> int:
    address = sys.argv[1]
    clients, rate_hz, seconds = (float(text) for text in (sys.argv[2:] + ["10", "1000", "3"][len(sys.argv) - 2:]))
    channel = grpc.insecure_channel(address)
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def message(name):
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"metronome.v1.{name}"))

    def method(name, kind=channel.unary_unary):
        return kind(
            f"/metronome.v1.OperatorService/{name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=message(f"{name}Response").FromString,
        )

    request = message("StartRunRequest")(label="from Python")
    request.plan.clients, request.plan.rate_hz = int(clients), rate_hz
    request.plan.duration.FromMilliseconds(int(seconds * 1000))
    run_id = method("StartRun")(request, timeout=5).run.run_id
    print("run", run_id)

    last, received, longest_gap, snapshots, ended = time.monotonic(), 0, 0.0, 0, None
    watch = method("WatchRun", channel.unary_stream)
    for event in watch(message("WatchRunRequest")(run_id=run_id), timeout=seconds + 60):
        now = time.monotonic()
        longest_gap, last = max(longest_gap, now - last), now
        if event.HasField("ended"):
            ended = event.ended
            break
        snapshots += 1
        assert event.snapshot.received >= received, "a counter fell"
        received = event.snapshot.received
        print(f"  {event.snapshot.elapsed.ToMilliseconds() / 1000:.1f} s: {received} received")

    assert ended is not None, "the stream broke off"
    packets, status = ended.report.packets, ended.report.verdict.status
    print(f"ended: {packets.received} of {packets.scheduled} received, verdict {status}, "
          f"{snapshots} snapshots, longest gap {longest_gap:.2f} s")
    assert packets.scheduled == packets.sent == packets.received == int(clients) * int(rate_hz * seconds)
    assert longest_gap < 1.5, "snapshots must come at least once a second"

    try:
        request.plan.rate_hz = float("nan")
        method("StartRun")(request, timeout=5)
        raise AssertionError("a rate of NaN was accepted")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        print("a rate of NaN is refused:", error.details())
    return 0 if status in (1, 3) else 1


if __name__ == "__main__":
    sys.exit(main())
