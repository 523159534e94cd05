"""The eight encoders that the paper compares with, as U-Nets of two channels and one logit; never imported at run time.

ResNet34, ResNet101, DenseNet169 and EfficientNet-b0 come from MONAI, MobileNetV2, RegNetX-1.6GF, VGG11 and VGG16 are
small modules of ours, checked against their published parameter counts. The paper names no sizes for EfficientNet,
MobileNet and RegNetX. None starts from ImageNet: weights trained there cannot be had here, and the paper, which does
not say, likely used them; comparisons with its figures have to bear that in mind.
"""
