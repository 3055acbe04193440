"""The pipeline: a service as a graph of Python operators, each with a model or without."""
from .analyse import Analyst
from .channel import ChannelData, ChannelDataErrcode, ChannelDataType, ProductErrCode
from .local_service_handler import LocalServiceHandler
from .operator import Op, RequestOp, ResponseOp, VirtualOp
from .pipeline_client import PipelineClient
from .pipeline_server import PipelineServer

__all__ = ["Op", "RequestOp", "ResponseOp", "VirtualOp", "PipelineServer", "PipelineClient", "LocalServiceHandler", "Analyst", "ChannelData",
           "ChannelDataErrcode", "ChannelDataType", "ProductErrCode"]
