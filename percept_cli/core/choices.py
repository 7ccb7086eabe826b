"""The names that options take, without torch: the modules that they stand for build their tables from these."""

DEVICES = ("auto", "cpu", "cuda", "mps")  # and cuda:N
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

SCALINGS = ("typical", "paper")
PIXEL_DISTANCES = ("mse", "l1", "charbonnier")
FEATURE_DISTANCES = ("mse", "l1", "cosine")
UPSCALER_ADVERSARIAL = ("standard", "relativistic")
UPSCALER_DISCRIMINATORS = ("srgan", "unet")
TRANSLATION_ADVERSARIAL = ("least-squares", "standard")

# The roles of models that make pictures
GENERATORS = ("style", "any-style", "upscaler", "inverter", "autoencoder", "translation")

JOHNSON_GENERATORS = ("johnson", "johnson-2016")
STYLE_GENERATORS = (*JOHNSON_GENERATORS, "transport")
STYLE_NORMS = ("inner", "instance", "batch")
TRANSLATION_GENERATORS = ("unet", *JOHNSON_GENERATORS)
INVERTERS = ("lean", "deepsim-2016", "deepsim-2016-linear")
SCALES = (2, 3, 4, 8)
SMALLEST_DISCRIMINATED = 63  # pixels, the side of the smallest image that DeePSiM's discriminator takes

# Of networks; of images that are optimized; of images that are optimized by a style
TRAINING_OPTIMIZERS = ("muon", "adam")
IMAGE_OPTIMIZERS = ("adam", "lbfgs", "sgd")
STYLE_OPTIMIZERS = ("adam", "lbfgs")
INVERSION_OPTIMIZERS = ("auto", *IMAGE_OPTIMIZERS)
INVERSION_METHODS = ("optimize", "generator")
INVERSION_PRESETS = ("mahendran-vedaldi",)
PARAMETRIZATIONS = ("spectrum", "pixels")
INITS = ("content", "noise", "style")
ONE_PASS = "one-pass"  # a further one, which needs a network

DEGRADATIONS = ("bicubic", "johnson", "photo")
EXTRACTOR_METHODS = ("distil", "exemplar", "video")

# Metric -> the network whose features it compares; `lpips` is the variant that the paper's authors report.
BACKBONES = {"lpips": "alexnet", "lpips_vgg": "vgg16", "lpips_squeeze": "squeezenet1_1", "dists": "vgg16"}
