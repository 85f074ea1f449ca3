//! `x-kubernetes-validations`: the rules of a schema node, compiled once and run against objects where they are.

pub mod check;
pub mod cost;
pub mod eval;
pub mod field_path;
pub mod functions;
mod lex;
pub mod library;
pub mod parse;
pub mod program;
pub mod rules;
pub mod signatures;
pub mod strings;
pub mod time;
pub mod types;
pub mod value;

pub use rules::Rule;
