//! The one executor.
