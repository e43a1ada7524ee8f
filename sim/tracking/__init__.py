"""A run told to a tracking library, as it goes on: TensorBoard, MLflow, Weights & Biases, Trackio.

``tracking`` follows a run and knows no library; each library has a file of its own, in which alone it is imported.
"""
