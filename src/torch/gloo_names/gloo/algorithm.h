// Stands for a header of gloo that libtorch's headers include; see context.h.
#pragma once
