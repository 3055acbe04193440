"""Paddle Serving's protobuf messages, made when they are asked for from the field numbers below: no generated code that is
tied to one release of protobuf, and a descriptor pool of their own, so that the original's may be loaded beside them."""
from __future__ import annotations

from typing import Any, Dict, List, Tuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto

_GENERAL_TENSOR = """
1 repeated int64 int64_data; 2 repeated float float_data; 3 repeated int32 int_data; 4 repeated double float64_data;
5 repeated uint32 uint32_data; 6 repeated bool bool_data; 7 repeated float complex64_data; 8 repeated double complex128_data;
9 repeated string data; 10 int32 elem_type; 11 repeated int32 shape; 12 repeated int32 lod; 13 string name;
14 string alias_name; 15 bytes tensor_content"""

# package -> (syntax, {message: "number [repeated|required] type name [= default]; ..."})
SCHEMAS: Dict[str, Tuple[str, Dict[str, str]]] = {
    "baidu.paddle_serving.predictor.general_model": ("proto3", {
        "Tensor": _GENERAL_TENSOR,
        "Request": "1 repeated Tensor tensor; 2 repeated string fetch_var_names; 3 bool profile_server; 4 uint64 log_id",
        "ModelOutput": "1 repeated Tensor tensor; 2 string engine_name",
        "Response": "1 repeated ModelOutput outputs; 2 repeated int64 profile_time; 3 bool profile_server; 4 uint64 log_id; "
                    "5 int32 err_no; 6 string err_msg",
    }),
    "baidu.paddle_serving.pipeline_serving": ("proto3", {
        "Tensor": """
1 repeated int64 int64_data; 2 repeated float float_data; 3 repeated int32 int_data; 4 repeated double float64_data;
5 repeated uint32 uint32_data; 6 repeated bool bool_data; 7 repeated float complex64_data; 8 repeated double complex128_data;
9 repeated string str_data; 10 bytes byte_data; 20 int32 elem_type; 21 repeated int32 shape; 22 repeated int32 lod;
23 string name""",
        "Request": "1 repeated string key; 2 repeated string value; 3 repeated Tensor tensors; 4 string name; 5 string method; "
                   "6 int64 logid; 7 string clientip",
        "Response": "1 int32 err_no; 2 string err_msg; 3 repeated string key; 4 repeated string value; 5 repeated Tensor tensors",
    }),
    "baidu.paddle_serving.configure": ("proto2", {
        "FeedVar": "1 string name; 2 string alias_name; 3 bool is_lod_tensor = false; 4 int32 feed_type = 0; 5 repeated int32 shape",
        "FetchVar": "1 string name; 2 string alias_name; 3 bool is_lod_tensor = false; 4 int32 fetch_type = 0; "
                    "5 repeated int32 shape",
        "GeneralModelConfig": "1 repeated FeedVar feed_var; 2 repeated FetchVar fetch_var",
        "ShapeEntry": "1 string key; 2 string value",
        "EngineDesc": """
1 required string name; 2 required string type; 3 required string reloadable_meta; 4 required string reloadable_type;
5 required string model_dir; 6 repeated int32 gpu_ids; 7 string version_file; 8 string version_type;
10 int32 sparse_param_service_type; 11 string sparse_param_service_table_name; 12 bool enable_memory_optimization;
13 bool enable_ir_optimization; 14 bool use_trt; 15 bool use_lite; 16 bool use_xpu; 17 bool use_gpu; 18 bool combined_model;
19 bool encrypted_model; 20 bool gpu_multi_stream; 21 bool use_ascend_cl; 22 int32 gpu_memory_mb = 100;
23 int32 cpu_math_thread_num = 1; 24 int32 trt_workspace_size = 33554432; 25 bool trt_use_static = false;
30 int32 runtime_thread_num = 0; 31 int32 batch_infer_size = 32; 32 bool enable_overrun = false;
33 bool allow_split_request = true; 34 int32 min_subgraph_size = 3; 35 repeated ShapeEntry min_input_shape;
36 repeated ShapeEntry max_input_shape; 37 repeated ShapeEntry opt_input_shape; 40 bool enable_dist_model = false;
41 string dist_carrier_id = inference; 42 string dist_cfg_file; 43 int32 dist_nranks = 0; 44 repeated string dist_endpoints;
45 int32 dist_subgraph_index = 0""",
        "ModelToolkitConf": "1 repeated EngineDesc engines",
        "ResourceConf": """
1 repeated string model_toolkit_path; 2 repeated string model_toolkit_file; 3 repeated string general_model_path;
4 repeated string general_model_file; 10 string cube_config_path; 11 string cube_config_file; 12 int32 cube_quant_bits;
13 string cube_cache_path; 20 string auth_product_name; 21 string auth_container_id""",
        "DAGNodeDependency": "1 required string name; 2 required string mode",
        "DAGNode": "1 required string name; 2 required string type; 3 repeated string address; "
                   "4 repeated DAGNodeDependency dependencies",
        "Workflow": "1 required string name; 2 required string workflow_type; 3 repeated DAGNode nodes",
        "WorkflowConf": "1 repeated Workflow workflows",
        "ValueMappedWorkflow": "1 required string request_field_value; 2 required string workflow",
        "InferService": """
1 required string name; 2 string merger; 3 bool enable_map_request_to_workflow = false; 4 string request_field_key;
5 repeated ValueMappedWorkflow value_mapped_workflows; 6 repeated string workflows""",
        "InferServiceConf": "1 uint32 port; 2 repeated InferService services",
        "ConnectionConf": """
1 int32 connect_timeout_ms = 2000; 2 int32 rpc_timeout_ms = 20000; 3 int32 connect_retry_count = 2;
4 int32 max_connection_per_host = 100; 5 int32 hedge_request_timeout_ms = -1; 6 int32 hedge_fetch_retry_count = 2;
7 string connection_type = pooled""",
        "NamingConf": "1 string cluster_filter_strategy = Default; 2 string load_balance_strategy = la; 3 string cluster",
        "RpcParameter": "1 int32 compress_type = 0; 2 int32 package_size = 20; 3 string protocol = baidu_std; "
                        "4 int32 max_channel_per_request = 3",
        "SplitConf": "1 string split_tag_name; 2 string tag_candidates",
        "VariantConf": "1 string tag; 2 ConnectionConf connection_conf; 3 NamingConf naming_conf; 4 RpcParameter rpc_parameter; "
                       "5 SplitConf split_conf; 6 string variant_router",
        "WeightedRandomRenderConf": "1 string variant_weight_list = 50",
        "Predictor": "1 string name = general_model; 2 string service_name; 3 string endpoint_router = WeightedRandomRender; "
                     "4 WeightedRandomRenderConf weighted_random_render_conf; 5 repeated VariantConf variants",
        "SDKConf": "1 VariantConf default_variant_conf; 2 repeated Predictor predictors",
    }),
}

_MAPS = {("EngineDesc", n) for n in ("min_input_shape", "max_input_shape", "opt_input_shape")}


def _add_field(message: Any, text: str, package: str, syntax: str, known: Dict[str, str]) -> None:
    words, _, default = text.partition("=")
    number, *label, kind, name = words.split()
    f = message.field.add(name=name, number=int(number), label=_F.LABEL_OPTIONAL)
    if label:
        f.label = _F.LABEL_REPEATED if label[0] == "repeated" else _F.LABEL_REQUIRED
    if kind == "ShapeEntry":  # a map<string, string>
        entry = message.nested_type.add(name="".join(w.capitalize() for w in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for i, part in enumerate(("key", "value"), 1):
            entry.field.add(name=part, number=i, label=_F.LABEL_OPTIONAL, type=_F.TYPE_STRING)
        f.type, f.type_name = _F.TYPE_MESSAGE, f".{package}.{message.name}.{entry.name}"
    elif kind in known:
        f.type, f.type_name = _F.TYPE_MESSAGE, f".{package}.{kind}"
    else:
        f.type = getattr(_F, f"TYPE_{kind.upper()}")
    if default:
        f.default_value = default.strip()


def _build(package: str) -> Dict[str, Any]:
    syntax, messages = SCHEMAS[package]
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name=package + ".proto", package=package, syntax=syntax)
    names = [m for m in messages if m != "ShapeEntry"]
    for name in names:
        message = file.message_type.add(name=name)
        for text in messages[name].split(";"):
            if text.strip():
                _add_field(message, text, package, syntax, messages)
    pool.Add(file)
    found = [pool.FindMessageTypeByName(f"{package}.{name}") for name in names]
    if hasattr(message_factory, "GetMessageClass"):
        return {d.name: message_factory.GetMessageClass(d) for d in found}
    factory = message_factory.MessageFactory(pool)
    return {d.name: factory.GetPrototype(d) for d in found}


_built: Dict[str, Dict[str, Any]] = {}


def messages(package: str) -> Dict[str, Any]:
    """The message classes of a package of SCHEMAS, by name."""
    if package not in _built:
        _built[package] = _build(package)
    return _built[package]


def general_model() -> Dict[str, Any]:
    """GeneralModelService's messages: what the wire of the client carries."""
    return messages("baidu.paddle_serving.predictor.general_model")


def pipeline() -> Dict[str, Any]:
    """PipelineService's messages."""
    return messages("baidu.paddle_serving.pipeline_serving")


def configure() -> Dict[str, Any]:
    """The messages of the configuration files."""
    return messages("baidu.paddle_serving.configure")
