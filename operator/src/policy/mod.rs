//! The rules, pure and total.
