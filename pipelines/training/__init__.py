"""What every pipeline's training shares: the loop, augmentation, metrics, process settings.

Nothing here knows a pipeline; recipes are in `pipelines/<name>/train.py`.
"""
