//! The world, small and honest.

pub mod apiserver;
