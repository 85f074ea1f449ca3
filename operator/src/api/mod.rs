//! The three CRDs as data.
