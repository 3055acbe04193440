"""python -m paddle_serving_client.convert: adds serving configurations to a saved inference model. Needs no framework."""
import argparse
import sys

from oar.errors import OarError

from .io import inference_model_to_serving


def parse_args(argv=None):
    parser = argparse.ArgumentParser("convert")
    parser.add_argument("--dirname", type=str, required=True, help="folder of the inference model")
    parser.add_argument("--serving_server", type=str, default="serving_server", help="folder that the server is started with")
    parser.add_argument("--serving_client", type=str, default="serving_client", help="folder that clients load")
    parser.add_argument("--model_filename", type=str, default=None, help="the program's file, where the folder holds several")
    parser.add_argument("--params_filename", type=str, default=None, help="the parameters' file")
    parser.add_argument("--show_proto", type=lambda v: str(v).lower() not in ("false", "0", "no", ""), nargs="?", const=True,
                        default=False, help="print the configuration and write nothing")
    parser.add_argument("--feed_alias_names", type=str, default=None, help="names for clients, comma separated")
    parser.add_argument("--fetch_alias_names", type=str, default=None, help="names for clients, comma separated")
    parser.add_argument("--encryption", action="store_true", help="encrypt the model; the key is written to the file 'key'")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        inference_model_to_serving(args.dirname, serving_server=args.serving_server, serving_client=args.serving_client,
                                   model_filename=args.model_filename, params_filename=args.params_filename,
                                   show_proto=args.show_proto, feed_alias_names=args.feed_alias_names,
                                   fetch_alias_names=args.fetch_alias_names, encryption=args.encryption)
    except (OSError, ValueError, OarError) as e:
        print(f"convert: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
