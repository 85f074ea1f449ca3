//! The decision as tables.

mod attempt;
mod mapping;
mod refusal;
mod removal;
mod render;
mod report;
mod suspension;

const INSTALLED: [&str; 5] = [
    "Ready=T/HelmReleaseReady@1",
    "Reconciling=F/Stable@1",
    "Degraded=F/Recovered@1",
    "Suspended=F/Active@1",
    "Blocked=F/Unblocked@1",
];
