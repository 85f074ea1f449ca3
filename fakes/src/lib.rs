//! The world, small and honest.
#![forbid(unsafe_code)]

pub mod apiserver;

pub mod kinds;
