// Declares the names of NVIDIA's libraries that libtorch's headers mention, as the other headers of
// this folder do. nccl.cpp calls none of these libraries, and their own headers are in packages of
// 300 to 600 MB each.
#pragma once
typedef struct cublasContext *cublasHandle_t;
typedef enum { CUBLAS_STATUS_SUCCESS = 0 } cublasStatus_t;
