"""The stub of pipeline_service.proto."""
from oar import _proto, _stubs

PipelineServiceStub = _stubs.stub("PipelineServiceStub", "baidu.paddle_serving.pipeline_serving.PipelineService", "inference",
                                  _proto.pipeline())
