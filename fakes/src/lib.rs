//! The world, small and honest.
