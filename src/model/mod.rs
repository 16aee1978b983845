//! Networks, weights in torchvision's key names, and the model artifact.
