"""The MixCut paper's VGG network (Simonyan & Zisserman 2015), torchvision's convolutions."""

from __future__ import annotations

from pipeline.methods.models import Classifier, assemble, convolution
from pipeline.methods.models.parts.torchvision import models, published, vgg_stages
from pipeline.params.models import FerVGGSettings


def vgg19_fer(settings: FerVGGSettings, classes: int, channels: int) -> Classifier:
    """Return the MixCut paper's VGG-19: batch norm before ReLU, dropout, one fully connected layer.

    At 44 x 44 pixels the convolutions leave one position of 512 features. Larger faces leave more, which are
    averaged, so that one layer of 512 x K serves every size.
    """
    net = models.vgg19_bn()
    net.features[0] = convolution(channels, 64, 3, 1, bias=True)
    return assemble(settings, classes, vgg_stages(net.features), 512, net, published("vgg19_bn"))
