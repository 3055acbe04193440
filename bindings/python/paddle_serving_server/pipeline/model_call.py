"""How an operator runs its model: in this process, over RPC, or through another pipeline. A kind is a row of CALLS."""
from oar.errors import InvalidArgument, OarError, TimedOut

from .channel import ChannelDataErrcode as Err


def _check(feed, feed_names, op):
    """The feed's names are the model's, exactly."""
    given = {n for n in feed if not n.endswith(".lod")}
    if given == set(feed_names):
        return None
    return (f"[{op.name}] failed to predict: invalid arg list: ['feed_batch']: the feed has {sorted(given)} and the model takes "
            f"{sorted(feed_names)}")


def _failed(op, e):
    if isinstance(e, TimedOut):
        raise e
    code = Err.INPUT_PARAMS_ERROR if isinstance(e, (InvalidArgument, ValueError, TypeError)) else Err.CLIENT_ERROR
    return None, code.value, (f"[{op.name}] failed to predict. {e}. Please check the input dict and checkout "
                              "PipelineServingLogs/pipeline.log for more details.")


def local_predictor(op):
    from paddle_serving_app.local_predict import LocalPredictor
    model = LocalPredictor()
    model.load_model_config(op.conf["model_config"], **op.conf.get("predictor", {}))
    fetch = op.conf.get("fetch_list") or model.fetch_names_
    unknown = [f for f in fetch if f not in model._names]
    if unknown:
        raise SystemExit(f"Op {op.name}: fetch_list {unknown}: the model gives {model.fetch_names_}")

    def call(feed, log_id):
        wrong = _check(feed, model.feed_names_, op)
        if wrong:
            return None, Err.INPUT_PARAMS_ERROR.value, wrong
        try:
            return model.predict(feed, fetch, batch=True, log_id=log_id), 0, ""
        except (OarError, ValueError, TypeError) as e:
            return _failed(op, e)
    return call


def brpc(op):
    from paddle_serving_client import Client
    client = Client()
    client.load_client_config(op.conf.get("client_config") or op.conf["model_config"])
    if op.conf["timeout"] > 0:
        client.set_rpc_timeout_ms(int(op.conf["timeout"]))
    if op.conf.get("use_encryption_model"):
        client.use_key(op.conf["encryption_key"])
    client.connect(op.conf["server_endpoints"], encryption=bool(op.conf.get("use_encryption_model")))
    fetch = op.conf.get("fetch_list") or client.get_fetch_names()

    def call(feed, log_id):
        wrong = _check(feed, client.get_feed_names(), op)
        if wrong:
            return None, Err.INPUT_PARAMS_ERROR.value, wrong
        try:
            return client.ask(feed, fetch, True, log_id or 0), 0, ""
        except (OarError, ValueError, TypeError) as e:
            return _failed(op, e)
    return call


def pipeline_grpc(op):
    from .operator import tensor_to_array
    from .pipeline_client import PipelineClient
    client = PipelineClient()
    client.connect(op.conf["server_endpoints"])

    def call(feed, log_id):
        reply = client.predict(feed_dict=dict(feed), fetch=op.conf.get("fetch_list"), pack_tensor_format=True, log_id=log_id or 0)
        if reply is None or reply.err_no:
            return None, (reply.err_no if reply is not None else Err.CLIENT_ERROR.value), reply.err_msg if reply is not None else "no reply"
        result = dict(zip(reply.key, reply.value))
        result.update({t.name: tensor_to_array(t) for t in reply.tensors})
        return result, 0, ""
    return call


CALLS = {"local_predictor": local_predictor, "brpc": brpc, "grpc": brpc, "pipeline_grpc": pipeline_grpc}


def make_call(op):
    """The function (feed, log_id) -> (dict of arrays, code, words) of this operator."""
    return CALLS[op.conf.get("client_type") or ("local_predictor" if op.conf.get("model_config") else "brpc")](op)
