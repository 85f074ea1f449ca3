//! Fuzz targets of the decoders and of the pure decisions.
