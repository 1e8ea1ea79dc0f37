"""An OTLP/gRPC collector in a few lines, written in another language than what it tests.

Usage: receiver.py HOST:PORT [FILE]

Prints "ready HOST:PORT" and, for every batch, one JSON object a line with its spans or metrics, to FILE
or standard output. Needs grpcio and opentelemetry-proto. Ends with SIGTERM.
"""

import json
import signal
import sys
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


class Traces(trace_grpc.TraceServiceServicer):
    def __init__(self, write):
        self.write = write

    def Export(self, request, context):
        for resource in request.resource_spans:
            service = attributes(resource.resource.attributes)
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.write(
                    {
                        "service": service["service.name"],
                        "name": span.name,
                        "kind": span.kind,
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "from_ns": span.start_time_unix_nano,
                        "until_ns": span.end_time_unix_nano,
                        "status": span.status.code,
                        "attributes": attributes(span.attributes),
                        "events": [{"name": event.name, "at_ns": event.time_unix_nano, **attributes(event.attributes)} for event in span.events],
                        "resource": service,
                        "schemas": [resource.schema_url, *(scope.schema_url for scope in resource.scope_spans)],
                    }
                )
        return trace.ExportTraceServiceResponse()


class Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, write):
        self.write = write

    def Export(self, request, context):
        for resource in request.resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                schemas = [resource.schema_url, *(scope.schema_url for scope in resource.scope_metrics)]
                self.write({"metric": metric.name, "unit": metric.unit, "data": MessageToDict(metric), "schemas": schemas})
        return metrics.ExportMetricsServiceResponse()


def main():
    address = sys.argv[1]
    out = open(sys.argv[2], "w", buffering=1) if len(sys.argv) > 2 else sys.stdout

    def write(record):
        print(json.dumps(record), file=out, flush=True)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    trace_grpc.add_TraceServiceServicer_to_server(Traces(write), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(write), server)
    port = server.add_insecure_port(address)
    server.start()
    print(f"ready {address.rsplit(':', 1)[0]}:{port}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.stop(1).wait()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
