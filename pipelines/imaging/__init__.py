"""Reading: DICOM files of one study -> arrays with their place in the source, and nothing about networks.

`instance` reads one file (header, pixels in any transfer syntax that decodes), `views` tells anterior from posterior,
`planar` puts the two together for projections. Volumes (SPECT, CT, MR) will be modules beside `planar`.
"""
