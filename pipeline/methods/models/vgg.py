"""VGG network of the MixCut paper (Simonyan & Zisserman 2015), with torchvision's convolutions."""

from __future__ import annotations

from pipeline.methods.models import Classifier, assemble, convolution
from pipeline.methods.models.parts.torchvision import models, published, vgg_stages
from pipeline.params.models import FerVGGSettings


def vgg19_fer(settings: FerVGGSettings, classes: int, channels: int) -> Classifier:
    """Return the MixCut paper's VGG-19: batch norm before ReLU, dropout, one fully connected layer.

    A face of 44 x 44 pixels leaves one position of 512 features. Larger faces leave several positions, which are
    averaged, so that the layer of 512 x K fits every size.
    """
    net = models.vgg19_bn()
    net.features[0] = convolution(channels, 64, 3, 1, bias=True)
    return assemble(settings, classes, vgg_stages(net.features), 512, net, published("vgg19_bn"))
