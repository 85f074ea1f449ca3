//! Other people's kinds.
