// Stands for a header of NVIDIA that libtorch's headers include; see cublas_v2.h.
#pragma once
