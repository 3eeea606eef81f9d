"""The ONNX node tests that are out of scope, each with a reason; an unneeded exclusion fails a test."""

OPERATORS: dict[str, tuple[str, ...]] = {
    "attention and what surrounds it are no part of convolutional networks": (
        "Attention", "LinearAttention", "FlexAttention", "RotaryEmbedding", "CausalConvWithState", "SwiGLU",
        "TensorScatter",
    ),
    "recurrent networks are not built here": ("RNN", "GRU", "LSTM"),
    "loops and branches depend on data; a network here is one graph": ("If", "Loop", "Scan"),
    "numbers of 8 bits and less are not computed with": (
        "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
        "MatMulInteger",
    ),
    "bits are not computed with": ("BitShift", "BitCast", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
    "sequences and optional values are not arrays": (
        "OptionalHasElement", "OptionalGetElement", "SequenceEmpty", "SequenceInsert", "SequenceLength", "SequenceMap",
        "SplitToSequence",
    ),
    "texts are not arrays of numbers": (
        "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer",
    ),
    "the shape of the result depends on data": ("Compress", "NonMaxSuppression", "NonZero", "Unique"),
    "places that are data are not indexed with": (
        "GatherElements", "GatherND", "ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "TopK",
    ),
    "classical learning, not networks": ("ArrayFeatureExtractor", "Binarizer", "LabelEncoder", "TreeEnsemble"),
    "decoding and detection happen outside the network": ("ImageDecoder", "RoiAlign"),
    "signal processing is no layer here": (
        "BlackmanWindow", "DFT", "HammingWindow", "HannWindow", "MelWeightMatrix", "STFT",
    ),
    "losses and updates are those of striate; files hold networks": (
        "Adagrad", "Adam", "Momentum", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss",
    ),
    "random numbers are drawn in training only": ("Bernoulli", "RandomUniformLike"),
    "st.ops has no such function": (
        "Acos", "Acosh", "AffineGrid", "Asin", "Asinh", "Atan", "Atanh", "Col2Im", "Cosh", "CumProd",
        "DeformConv", "Det", "Einsum", "GridSample", "Sinh",
    ),
}  # fmt: skip
"""Reason → operators that are not read; a test is out of scope where it needs one of them."""

WORDS: dict[str, tuple[str, ...]] = {
    "floats of 8 bits and less, and whole numbers of 4 bits and less, are not computed with": (
        "FLOAT8", "FLOAT4", "INT4", "INT2",
    ),
}  # fmt: skip
"""Reason → words in the names of tests."""

TESTS: dict[str, tuple[str, ...]] = {
    "the mask of dropout is not an output": ("test_dropout_default_mask", "test_dropout_default_mask_ratio"),
    "dropout that is asked for at prediction would draw the random numbers of another generator": (
        "test_training_dropout_default", "test_training_dropout_default_mask", "test_training_dropout",
        "test_training_dropout_mask", "test_training_dropout_zero_ratio_mask",
    ),
    "written in opset 1": ("test_not_2d", "test_not_3d", "test_not_4d"),
    "the maximum of no elements is refused, as in NumPy": (
        "test_reduce_max_empty_set", "test_reduce_max_empty_set_bool", "test_reduce_min_empty_set",
    ),
    "a value for places outside of the picture is refused": ("test_resize_tf_crop_and_resize_extrapolation_value",),
}  # fmt: skip
"""Reason → names of tests."""
