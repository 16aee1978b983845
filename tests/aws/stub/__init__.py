"""The package answers calls of SageMaker and of CloudWatch Logs in tests; ../sagemaker_stub.py serves it by HTTP."""
