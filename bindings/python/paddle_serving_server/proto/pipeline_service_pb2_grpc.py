"""The stub of pipeline_service.proto."""
from paddle_serving_server.pipeline.proto.pipeline_service_pb2_grpc import PipelineServiceStub  # noqa: F401
