"""Starts a run, watches it until packets are read, stops it, and prints what was counted at its end.

Usage: start_watch_stop.py HOST:PORT. docs/api.md has how the package metronome.v1 is generated."""

import sys

import grpc
from google.protobuf.duration_pb2 import Duration
from metronome.v1 import plan_pb2, run_service_pb2, run_service_pb2_grpc

runs = run_service_pb2_grpc.RunServiceStub(grpc.insecure_channel(sys.argv[1]))
profile = plan_pb2.Profile(constant=plan_pb2.Constant(rate_millihertz=100_000))
plan = plan_pb2.Plan(groups=[plan_pb2.Group(clients=2, profile=profile)], duration=Duration(seconds=3600))
run_id = runs.StartRun(run_service_pb2.StartRunRequest(plan=plan)).run.run_id
for event in runs.WatchEvents(run_service_pb2.WatchEventsRequest(run_id=run_id)):
    if event.snapshot.receiver.received:
        runs.StopRun(run_service_pb2.StopRunRequest(run_id=run_id))
    if event.HasField("run_ended"):
        counts = event.run_ended.report.counts
        print("run", run_id, "sent", counts.generator.sent, "received", counts.receiver.received)
