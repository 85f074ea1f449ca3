//! How requests travel: in process ([`direct`]), or over real sockets ([`tcp`], for `sim up`).

pub mod direct;
pub mod tcp;
