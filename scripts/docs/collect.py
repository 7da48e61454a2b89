"""Runs a command with an OTLP collector on a socket, and writes the spans that came to a file."""

import json
import os
import subprocess
import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self):
        self.spans = []

    def Export(self, request, context):
        for resource in request.resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        {
                            "service": service.removeprefix("trama-"),
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "name": span.name,
                            "begin": span.start_time_unix_nano,
                            "end": span.end_time_unix_nano,
                        }
                    )
        return trace_service_pb2.ExportTraceServiceResponse()


def main(file, *command):
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    environment = os.environ | {"TRAMA_TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    # What the collector needs is not for the command.
    environment.pop("PYTHONPATH", None)
    code = subprocess.run(command, env=environment, check=False).returncode
    # Processes send what is left before they end, so all is here.
    server.stop(1).wait()
    if code != 0:
        sys.exit(code)
    with open(file, "w", encoding="utf-8") as out:
        json.dump(collector.spans, out, indent=1)


main(*sys.argv[1:])
