"""Saving models with their serving configurations, and adding these to models that are saved already.

save_model and save_dygraph_model run in the framework that is installed (PaddlePaddle 2.x or 3.x); inference_model_to_serving
needs none.
"""
import os
import shutil

from google.protobuf import text_format

from oar import _crypt, _program, _proto

__all__ = ["save_model", "save_dygraph_model", "inference_model_to_serving"]

PROGRAM, PARAMS = "model.pdmodel", "params.pdiparams"
CODES = {"int64": 0, "float32": 1, "int32": 2, "float64": 3, "int16": 4, "float16": 5, "bfloat16": 6, "uint8": 7, "int8": 8,
         "bool": 9, "complex64": 10, "complex128": 11}


def _config(feeds, fetches):
    """The GeneralModelConfig of (alias, Var) pairs."""
    config = _proto.configure()["GeneralModelConfig"]()
    for alias, var in feeds:
        v = config.feed_var.add(name=var.name, alias_name=alias, is_lod_tensor=var.lod_level >= 1, feed_type=var.dtype)
        v.shape.extend([-1] if var.lod_level >= 1 else [d for d in var.shape if d >= 0])
    for alias, var in fetches:
        v = config.fetch_var.add(name=var.name, alias_name=alias, is_lod_tensor=var.lod_level >= 1, fetch_type=var.dtype)
        v.shape.extend([-1] if var.lod_level >= 1 else [d for d in var.shape if d >= 0])
    return config


def _write_configs(config, server_folder, client_folder):
    text, binary = text_format.MessageToString(config), config.SerializeToString()
    for folder, name in ((client_folder, "serving_client_conf"), (server_folder, "serving_server_conf")):
        if folder is None:
            continue
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name + ".prototxt"), "w") as f:
            f.write(text)
        with open(os.path.join(folder, name + ".stream.prototxt"), "wb") as f:
            f.write(binary)


def _aliases(names, text, count):
    """The names, or the comma-separated list in their place."""
    if text is None:
        return names
    given = [n.strip() for n in text.split(",")] if isinstance(text, str) else list(text)
    if len(given) != count:
        raise ValueError("please check the input --feed_alias_names and --fetch_alias_names, should be same size with feed_vars and "
                         "fetch_vars")
    return given


def _place(files, server_folder, model_filename, params_filename):
    """Copies a model under the names that a server looks for. Names that were given are kept where a server finds them."""
    os.makedirs(server_folder, exist_ok=True)
    if files.program.endswith(".json"):  # Paddle 3's form: the two share their stem
        shutil.copyfile(files.program, os.path.join(server_folder, "model.json"))
        if files.params:
            shutil.copyfile(files.params, os.path.join(server_folder, "model.pdiparams"))
        return os.path.join(server_folder, "model.json")
    if files.params is None:  # one file a variable
        folder = os.path.dirname(files.program)
        for name in os.listdir(folder):
            if os.path.isfile(os.path.join(folder, name)):
                shutil.copyfile(os.path.join(folder, name), os.path.join(server_folder, name))
        if os.path.basename(files.program) not in ("__model__", "model"):
            os.replace(os.path.join(server_folder, os.path.basename(files.program)), os.path.join(server_folder, "__model__"))
        return server_folder
    found_by_server = model_filename and params_filename and (
        (model_filename.endswith(".pdmodel") and params_filename.endswith(".pdiparams")) or
        (model_filename in ("__model__", "model") and params_filename in ("__params__", "params")))
    program, params = (model_filename, params_filename) if found_by_server else (PROGRAM, PARAMS)
    shutil.copyfile(files.program, os.path.join(server_folder, program))
    shutil.copyfile(files.params, os.path.join(server_folder, params))
    return os.path.join(server_folder, program)


def _encrypt(files, server_folder):
    """encrypt_model and encrypt_params in the server's folder, and their key in the file `key` here."""
    if files.params is None:
        raise ValueError(f"{files.program}: encryption wants a program with its parameters in one file (*.pdmodel or *.json with *.pdiparams, "
                         "or __model__ with __params__)")
    key = _crypt.new_key()
    os.makedirs(server_folder, exist_ok=True)
    for path, name in ((files.program, "encrypt_model"), (files.params, "encrypt_params")):
        with open(path, "rb") as f, open(os.path.join(server_folder, name), "wb") as out:
            out.write(_crypt.encrypt(f.read(), key))
    with open(os.open("key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(key)


def _finish(files, config, server_folder, client_folder, encryption, show_proto, model_filename=None, params_filename=None):
    if show_proto:
        print(text_format.MessageToString(config))
        return
    if encryption:
        _encrypt(files, server_folder)
    else:
        _place(files, server_folder, model_filename, params_filename)
    _write_configs(config, server_folder, client_folder)


def inference_model_to_serving(dirname, serving_server="serving_server", serving_client="serving_client", model_filename=None,
                               params_filename=None, encryption=False, key_len=128, encrypt_conf=None, show_proto=False,
                               feed_alias_names=None, fetch_alias_names=None):
    """Adds the serving configurations to a model that save_inference_model or paddle.jit.save wrote in the folder dirname.
    Returns (feed names, fetch names)."""
    files = _program.find(dirname, model_filename, params_filename)
    feeds, fetches = _program.ports(files.program)
    feed_names, fetch_names = [v.name for v in feeds], [v.name for v in fetches]
    config = _config(list(zip(_aliases(feed_names, feed_alias_names, len(feeds)), feeds)),
                     list(zip(_aliases(fetch_names, fetch_alias_names, len(fetches)), fetches)))
    _finish(files, config, serving_server, serving_client, encryption, show_proto, model_filename, params_filename)
    return feed_names, fetch_names


# ---- in the framework ----

def _paddle():
    try:
        import paddle
    except ImportError:
        raise ImportError("saving a model from a program wants the framework: pip install paddlepaddle. A model that is saved "
                          "already needs none: python -m paddle_serving_client.convert") from None
    return paddle


def _check_variables(variables, what):
    if not isinstance(variables, dict) or not variables:
        raise TypeError(f"{what} is a dict of the names that clients use to variables of the program, such as {{'x': x}}")
    for alias, variable in variables.items():
        if not hasattr(variable, "dtype") or not hasattr(variable, "shape"):
            raise TypeError(f"{what}[{alias!r}] is {type(variable).__name__}, and a variable of the program was expected")


def _var_of(variable):
    """(name, code, shape, lod_level) of a variable of a program in either of the framework's forms."""
    dtype = str(variable.dtype).rsplit(".", 1)[-1].lower()
    dtype = {"fp32": "float32", "fp64": "float64", "fp16": "float16", "bf16": "bfloat16"}.get(dtype, dtype)
    try:
        level = int(getattr(variable, "lod_level", 0) or 0)
    except Exception:
        level = 0
    try:
        name = variable.name
    except Exception:  # a result in Paddle 3's form has none until it is saved
        name = "?"
    return _program.Var(name, CODES.get(dtype, -1), tuple(int(d) for d in variable.shape), level)


def save_model(server_model_folder, client_config_folder, feed_var_dict, fetch_var_dict, main_program=None, encryption=False,
               key_len=128, encrypt_conf=None, model_filename=None, params_filename=None, show_proto=False, feed_alias_names=None,
               fetch_alias_names=None):
    """Saves the part of a static program that leads from the feeds to the fetches, with its parameters, and the configurations
    of server and client. The dicts give each variable the name that clients use; fetches are ordered by these names."""
    paddle = _paddle()
    _check_variables(feed_var_dict, "feed_var_dict")
    _check_variables(fetch_var_dict, "fetch_var_dict")
    feeds = list(feed_var_dict.items())
    fetches = sorted(fetch_var_dict.items())
    feed_alias = _aliases([a for a, _ in feeds], feed_alias_names, len(feeds))
    fetch_alias = _aliases([a for a, _ in fetches], fetch_alias_names, len(fetches))
    program = main_program if main_program is not None else paddle.static.default_main_program()
    pairs_in = list(zip(feed_alias, (_var_of(v) for _, v in feeds)))
    pairs_out = list(zip(fetch_alias, (_var_of(v) for _, v in fetches)))
    if show_proto:
        print(text_format.MessageToString(_config(pairs_in, pairs_out)))
        return
    os.makedirs(server_model_folder, exist_ok=True)
    prefix = os.path.join(server_model_folder, ".saving")
    executor = paddle.static.Executor(paddle.CPUPlace())
    paddle.static.save_inference_model(prefix, [v for _, v in feeds], [v for _, v in fetches], executor, program=program)
    files, pairs_out = _saved(prefix, pairs_out)
    try:
        _finish(files, _config(pairs_in, pairs_out), server_model_folder, client_config_folder, encryption, False, model_filename,
                params_filename)
    finally:
        for path in (files.program, files.params):
            if path and os.path.exists(path):
                os.remove(path)


def _saved(prefix, fetches):
    """The files that the framework wrote at prefix. What the program calls its fetches is what counts: the framework may
    have put scale operators behind them, and Paddle 3's form gives them names of its own."""
    program = next(p for p in (prefix + ".pdmodel", prefix + ".json") if os.path.exists(p))
    params = prefix + ".pdiparams" if os.path.exists(prefix + ".pdiparams") else None
    _, saved = _program.ports(program)
    named = [(alias, var._replace(name=got.name)) for (alias, var), got in zip(fetches, saved)]
    return _program.Files(program, params), named


def save_dygraph_model(serving_model_folder, client_config_folder, model):
    """Saves a layer that paddle.jit.to_static has made (with its input_spec), and the configurations. Clients use the
    variables' real names."""
    paddle = _paddle()
    os.makedirs(serving_model_folder, exist_ok=True)
    prefix = os.path.join(serving_model_folder, ".saving")
    paddle.jit.save(model, prefix)
    files, _ = _saved(prefix, [])
    feeds, fetches = _program.ports(files.program)
    try:
        if files.program.endswith(".json"):
            _place(files, serving_model_folder, None, None)
        else:
            shutil.copyfile(files.program, os.path.join(serving_model_folder, "__model__"))
            shutil.copyfile(files.params, os.path.join(serving_model_folder, "__params__"))
        _write_configs(_config([(v.name, v) for v in feeds], [(v.name, v) for v in fetches]), serving_model_folder,
                       client_config_folder)
    finally:
        for path in (files.program, files.params, prefix + ".pdiparams.info"):
            if path and os.path.exists(path):
                os.remove(path)
