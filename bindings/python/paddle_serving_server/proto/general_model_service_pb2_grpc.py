"""The stub of general_model_service.proto."""
from paddle_serving_client.proto.general_model_service_pb2_grpc import GeneralModelServiceStub  # noqa: F401
