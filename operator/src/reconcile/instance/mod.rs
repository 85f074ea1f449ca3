//! ApplicationInstance.
