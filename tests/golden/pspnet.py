"""PSPNet (Zhao et al., "Pyramid Scene Parsing Network", 2017) in torchvision's style, which has none.

The head is the paper's: the features are pooled to 1x1, 2x2, 3x3 and 6x6, each view is reduced to a
quarter of the channels and resized back, all five are concatenated, and a 3x3 convolution, dropout and a
1x1 convolution follow. Backbone, resizing and auxiliary head are torchvision's segmentation models'.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.segmentation._utils import _SimpleSegmentationModel


class Pooled(nn.Sequential):
    def __init__(self, channels, inner, side):
        super().__init__(
            nn.AdaptiveAvgPool2d(side), nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()
        )

    def forward(self, x):
        return F.interpolate(super().forward(x), size=x.shape[-2:], mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    def __init__(self, channels, sides):
        super().__init__()
        self.convs = nn.ModuleList(Pooled(channels, channels // len(sides), side) for side in sides)

    def forward(self, x):
        return torch.cat([x, *(conv(x) for conv in self.convs)], dim=1)


class PSPHead(nn.Sequential):
    def __init__(self, channels, classes, sides=(1, 2, 3, 6)):
        inner = channels // 4
        super().__init__(
            PyramidPooling(channels, sides),
            nn.Conv2d(2 * channels, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(inner, classes, 1),
        )


class PSPNet(_SimpleSegmentationModel):
    """backbone gives a dict with "out" and "aux"."""
