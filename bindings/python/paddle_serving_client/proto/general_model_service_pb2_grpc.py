"""The stub of general_model_service.proto."""
from oar import _proto, _stubs

GeneralModelServiceStub = _stubs.stub("GeneralModelServiceStub", "baidu.paddle_serving.predictor.general_model.GeneralModelService", "inference",
                                      _proto.general_model())
