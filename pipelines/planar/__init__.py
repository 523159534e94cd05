"""What the pipelines of planar whole-body bone scans share, and no network.

`header_checks` and `checks` ask whether a scan is one; `outline`, `levels`, `prepare` bring a view to the working grid
and back; `lesions`, `location` list foci and name their place; `regions`, `wording`, `codes` say it in the terms of
`Findings`; `dataset` keeps simulated patients, prepared once for all of them.
"""
