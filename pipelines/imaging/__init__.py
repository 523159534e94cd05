"""Reading: DICOM files of one study -> arrays with their place in the source, and nothing about networks.

`instance` reads one file (header, pixels in any transfer syntax that decodes), `views` tells anterior from posterior,
`planar` puts the two together for projections. `volume` reads slices (CT, MR) as a volume in one orientation,
`mr` says what their headers tell of weighting and fat suppression. SPECT objects will be a module beside them.
"""
