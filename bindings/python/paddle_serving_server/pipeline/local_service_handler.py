"""LocalServiceHandler: a local service said in the script instead of in config.yml's local_service_conf."""


class LocalServiceHandler:
    """What an Op's local service runs: Op(local_service_handler=LocalServiceHandler("uci_housing_model", fetch_names=["price"]))."""

    def __init__(self, model_config, client_type="local_predictor", workdir="", thread_num=2, device_type=-1, devices="", fetch_names=None,
                 mem_optim=True, ir_optim=False, available_port_generator=None, use_profile=False, precision="fp32", use_mkldnn=False,
                 mkldnn_cache_capacity=0, mkldnn_op_list=None, mkldnn_bf16_op_list=None, min_subgraph_size=3, dynamic_shape_info={},
                 use_calib=False):
        self.conf = {
            "model_config": model_config, "client_type": client_type, "workdir": workdir, "thread_num": thread_num, "device_type": device_type,
            "devices": devices, "fetch_list": fetch_names, "mem_optim": mem_optim, "ir_optim": ir_optim, "precision": precision,
            "use_mkldnn": use_mkldnn, "mkldnn_cache_capacity": mkldnn_cache_capacity, "mkldnn_op_list": mkldnn_op_list or [],
            "mkldnn_bf16_op_list": mkldnn_bf16_op_list or [], "min_subgraph_size": min_subgraph_size, "use_calib": use_calib,
        }
