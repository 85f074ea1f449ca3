//! The world, small and honest: a wire-compatible Kubernetes API server and fakes of the controllers and services around the operator.
//! Each module's head says what it models and what it refuses.
#![forbid(unsafe_code)]

pub mod apiserver;

pub mod faults;
pub mod flux;
pub mod front;
pub mod history;
pub mod kinds;
pub mod odoo;
pub mod script;
