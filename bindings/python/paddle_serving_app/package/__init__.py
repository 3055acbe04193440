"""python -m paddle_serving_app.package: lists the models that examples use, and unpacks one from a folder of yours.

Nothing is downloaded: --get_model NAME looks for NAME.tar.gz in --from (or in OAR_MODELS).
"""
import argparse
import os
import sys
import tarfile

MODELS = {
    "SentimentAnalysis": ["senta_bilstm", "senta_bow", "senta_cnn"],
    "SemanticRepresentation": ["ernie"],
    "ChineseWordSegmentation": ["lac"],
    "ObjectDetection": ["faster_rcnn", "yolov4", "blazeface"],
    "ImageSegmentation": ["unet", "deeplabv3", "deeplabv3+cityscapes"],
    "ImageClassification": ["resnet_v2_50_imagenet", "mobilenet_v2_imagenet"],
    "OCR": ["ocr_rec", "ocr_det"],
}


def list_models():
    return ("\n" + "-" * 47 + "\n").join(f"{task}: {' | '.join(names)}" for task, names in MODELS.items())


def get_model(name, folder, to="."):
    """Unpacks folder/NAME.tar.gz; entries that would land outside are refused."""
    path = os.path.join(folder, name + ".tar.gz")
    if not os.path.exists(path):
        raise FileNotFoundError(f"no {path}: nothing is downloaded; put the archive there, or name its folder with --from")
    root = os.path.realpath(to)
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            where = os.path.realpath(os.path.join(root, member.name))
            if not (where == root or where.startswith(root + os.sep)) or not (member.isfile() or member.isdir()):
                raise ValueError(f"{path}: {member.name!r} is no file inside the folder")
        tar.extractall(root)


def main(argv=None):
    parser = argparse.ArgumentParser("package")
    parser.add_argument("--list_model", action="store_true", help="list the models")
    parser.add_argument("--get_model", metavar="NAME", help="unpack a model")
    parser.add_argument("--tutorial", metavar="NAME", help="say how a model is served")
    parser.add_argument("--from", dest="folder", default=os.environ.get("OAR_MODELS", "."), help="folder of the archives")
    args = parser.parse_args(argv)
    known = [n for names in MODELS.values() for n in names]
    name = args.get_model or args.tutorial
    if args.list_model:
        print(list_models())
    elif name and name not in known:
        print("Your model name does not exist in current model list, stay tuned")
    elif args.get_model:
        try:
            get_model(args.get_model, args.folder)
        except (OSError, ValueError, tarfile.TarError) as e:
            print(f"package: {e}", file=sys.stderr)
            return 1
    elif args.tutorial:
        print(f"python -m paddle_serving_app.package --get_model {name}\n"
              f"python -m paddle_serving_server.serve --model {name}_model --port 9292")
    else:
        print("Wrong argument")
        parser.print_help()
    return 0
