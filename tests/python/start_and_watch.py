"""Starts a run and streams its snapshots, given nothing but the server's address.

Usage: start_and_watch.py HOST:PORT [CLIENTS [RATE_HZ [SECONDS]]]

Everything else comes from server reflection (pip install grpcio grpcio-reflection grpcio-status). Exits 0
when the run was valid or late, snapshots came at least once a second and their counters never fell, the packets of
200 bytes got the replies that they had asked for, the run is found by its label, and requests that cannot be followed are refused as data.
"""

import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status


# Each packet of so many asks for a reply, from the first on.
ECHO_EVERY = 7


class Runs:
    """The service of runs, as reflection describes it."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.service = self.pool.FindServiceByName("metronome.v1.RunService")

    def call(self, name, request=None, timeout=5, streams=False, **fields):
        method = self.service.FindMethodByName(name)
        of_request, of_response = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
        make = self.channel.unary_stream if streams else self.channel.unary_unary
        path = f"/{self.service.full_name}/{name}"
        stub = make(path, request_serializer=of_request.SerializeToString, response_deserializer=of_response.FromString)
        return stub(request if request is not None else of_request(**fields), timeout=timeout)

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"metronome.v1.{name}"))


def word(message, field):
    """The name of an enum field's value without its prefix: VALID. A number that it does not have stays one."""
    kind, number = message.DESCRIPTOR.fields_by_name[field].enum_type, getattr(message, field)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    value = kind.values_by_number.get(number)
    return value.name.removeprefix(prefix) if value else str(number)


def follow(runs, run_id, seconds):
    """Returns the run at its end, how many snapshots came and the longest time between two messages."""
    last, received, longest_gap, snapshots, number = time.monotonic(), 0, 0.0, 0, 0
    for event in runs.call("WatchEvents", run_id=run_id, streams=True, timeout=seconds + 60):
        now = time.monotonic()
        longest_gap, last = max(longest_gap, now - last), now
        assert event.number > number, "the number of an event does not rise"
        number = event.number
        kind = event.WhichOneof("event")
        if kind == "run_ended":
            return event.run_ended, snapshots, longest_gap
        if kind != "snapshot":
            continue  # A later version may have other events.
        snapshots += 1
        # A figure that is not known is unset, and never 0.
        if event.snapshot.HasField("receiver"):
            assert event.snapshot.receiver.received >= received, "a counter fell"
            received = event.snapshot.receiver.received
            print(f"  {event.snapshot.elapsed.ToMilliseconds() / 1000:.1f} s: {received} received")
    raise AssertionError("the stream broke off")


def refused(runs, request):
    """Returns the gRPC status, the reason, and the field or the figures with which a request is refused."""
    try:
        runs.call("StartRun", request)
    except grpc.RpcError as error:
        details = {detail.TypeName(): detail for detail in rpc_status.from_call(error).details}
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        assert details["google.rpc.ErrorInfo"].Unpack(info) and info.domain == "metronome.v1", details
        assert info.metadata["remedy"], info
        if (fields := details.get("google.rpc.BadRequest")) and fields.Unpack(bad):
            return error.code(), info.reason, bad.field_violations[0].field
        return error.code(), info.reason, dict(info.metadata)
    raise AssertionError(f"this was accepted: {request}")


def main() -> int:
    address = sys.argv[1]
    clients, rate_hz, seconds = (float(text) for text in (sys.argv[2:] + ["10", "1000", "3"][len(sys.argv) - 2:]))
    runs = Runs(grpc.insecure_channel(address))

    request = runs.message("StartRunRequest")(labels={"from": "python"})
    group = request.plan.groups.add(clients=int(clients))
    group.profile.constant.rate_millihertz = int(rate_hz * 1000)
    group.packet_bytes = 200
    group.payload.pattern.SetInParent()
    group.echo_every = ECHO_EVERY
    request.plan.duration.FromMilliseconds(int(seconds * 1000))
    run_id = runs.call("StartRun", request).run.run_id
    print("run", run_id)

    run, snapshots, longest_gap = follow(runs, run_id, seconds)
    assert word(run, "state") == "ENDED" and run.HasField("report"), run
    verdict, counts = word(run.report.verdict, "status"), run.report.counts
    assert counts.HasField("generator") and counts.HasField("receiver") and counts.HasField("lost"), counts
    sent, received = counts.generator.sent, counts.receiver.received
    print(f"ended: {received} of {counts.generator.scheduled} received, {verdict}, "
          f"{snapshots} snapshots, longest gap {longest_gap:.2f} s")
    assert counts.generator.scheduled == sent == received == int(clients) * int(rate_hz * seconds)
    requested, read = counts.generator.replies_requested, counts.generator.replies_read
    asked = int(clients) * -(-int(rate_hz * seconds) // ECHO_EVERY)
    assert requested == counts.receiver.replies_wanted == asked, (requested, asked)
    assert counts.receiver.HasField("replies_dropped") and counts.generator.HasField("replies_unexpected"), counts
    assert read + counts.receiver.replies_dropped == requested and not counts.generator.replies_unexpected, counts
    print(f"{read} of {requested} replies were read, the others dropped")
    assert longest_gap < 1.5, "snapshots must come at least once a second"

    rows = [row for part in runs.call("ExportRun", run_id=run_id, streams=True) for row in part.client_rows.clients]
    assert [row.client for row in rows] == list(range(int(clients))), "one row for each client, by rising index"
    assert sum(row.counts.receiver.received for row in rows) == received
    found = runs.call("ListRuns", filter="labels.from = python AND state = ended", page_size=1).runs
    assert [run.run_id for run in found] == [run_id], found

    group.packet_bytes = 31
    status, reason, field = refused(runs, request)
    assert (reason, field) == ("FIELD_OUT_OF_RANGE", "plan.groups[0].packet_bytes"), (reason, field)
    group.packet_bytes = 200
    group.profile.constant.rate_millihertz = 0
    status, reason, field = refused(runs, request)
    assert (status, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_OUT_OF_RANGE"), (status, reason)
    assert field == "plan.groups[0].profile.constant.rate_millihertz", field
    group.profile.constant.rate_millihertz = 1000
    request.plan.requires.append("warp")
    status, reason, figures = refused(runs, request)
    assert (status, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED"), (status, reason)
    assert figures["feature"] == "warp", figures
    print("a rate of 0 and a feature that the server does not have are refused, as data")

    runs.call("DeleteRun", run_id=run_id)
    assert not runs.call("ListRuns", filter="labels.from = python").runs
    return 0 if verdict in ("VALID", "INVALID") else 1


if __name__ == "__main__":
    sys.exit(main())
