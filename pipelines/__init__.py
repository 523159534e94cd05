"""The pipelines: one sub-package per paper, and the rooms they share.

Nothing here imports `node`: a pipeline turns DICOM files into `Findings` and knows no network, queue or database.
"""
