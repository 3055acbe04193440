"""Readers: what turns files, text and bytes into a model's inputs, and its outputs into results."""
from .chinese_bert_reader import ChineseBertReader
from .criteo import CriteoDataset
from .image_reader import (BGR2RGB, Base64ToImage, BlazeFacePostprocess, CenterCrop, DBPostProcess, DetectionBGR2RGB, DetectionDiv,
                           DetectionFile2Image, DetectionNormalize, DetectionPadStride, DetectionResize, DetectionSequential,
                           DetectionTranspose, Div, File2Image, FilterBoxes, GetRotateCropImage, ImageReader, Lambda, Normalize, PadStride,
                           RCNNPostprocess, RGB2BGR, Resize, ResizeByFactor, SegPostprocess, Sequential, SortedBoxes, String2Image,
                           Transpose, URL2Image)
from .imdb_reader import IMDBDataset
from .lac_reader import LACReader
from .ocr_reader import OCRReader
from .pptsn_reader import Image2Array, Normalization, Sampler, Scale, TenCrop, VideoDecoder
from .senta_reader import SentaReader
