#!/usr/bin/env python3
"""tools/record_sklearn.py [OUT]: small scikit-learn models as ONNX, with what scikit-learn itself answers for them.

Writes OUT/NAME/model.onnx and case_0.in.npz, case_0.out.npz (in0, out0, out1), by default to tests/data/onnx. Needs
scikit-learn and skl2onnx; the tests that read the recordings need neither.
"""
import pathlib
import sys

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1] / "tests" / "data" / "onnx")


def with_holes(x):
    x = x.copy()
    x[::7, 1] = np.nan
    return x


def models():
    iris, diabetes = load_iris(), load_diabetes()
    two = iris.target < 2
    flowers, sick = iris.data.astype(np.float32), diabetes.data.astype(np.float32)
    yield "sklearn_linear", LinearRegression(), sick, diabetes.target
    yield "sklearn_pipeline", make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), with_holes(flowers), iris.target
    yield "sklearn_binary", make_pipeline(MinMaxScaler(), Normalizer(), LogisticRegression()), flowers[two], iris.target[two]
    yield "sklearn_tree", DecisionTreeClassifier(max_depth=4, random_state=0), flowers, iris.target
    yield "sklearn_forest", RandomForestClassifier(8, max_depth=4, random_state=0), flowers, iris.target
    yield "sklearn_boosting", GradientBoostingRegressor(n_estimators=10, random_state=0), sick, diabetes.target


for name, model, x, y in models():
    model.fit(x, y)
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    classifier = hasattr(model, "predict_proba")
    onnx = to_onnx(model, x[:1], options={"zipmap": False} if classifier else None, target_opset={"": 17, "ai.onnx.ml": 3})
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    rows = x[::5]
    np.savez(folder / "case_0.in.npz", in0=rows)
    if classifier:
        np.savez(folder / "case_0.out.npz", out0=model.predict(rows), out1=model.predict_proba(rows).astype(np.float32))
    else:
        np.savez(folder / "case_0.out.npz", out0=model.predict(rows).astype(np.float32).reshape(-1, 1))
    print(folder, sum(p.stat().st_size for p in folder.iterdir()), "bytes")
