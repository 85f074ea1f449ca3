//! A checked expression, ready to run.

use super::value::Val;

/// What a program computes.
#[derive(Debug)]
pub enum Expr {
    /// A constant.
    Literal(Val<'static>),
    /// A variable of the program, by position.
    Variable(usize),
    /// A variable of a macro, by its place on the stack.
    Local(usize),
    /// `target.field`, by JSON name.
    Select(Box<Expr>, String),
    /// `has(target.field)`.
    Has(Box<Expr>, String),
    /// `target.?field`.
    SelectOptional(Box<Expr>, String),
    /// `target[key]`.
    Index(Box<Expr>, Box<Expr>),
    /// `target[?key]`.
    IndexOptional(Box<Expr>, Box<Expr>),
    /// `!a`.
    Not(Box<Expr>),
    /// `-a`.
    Negate(Box<Expr>),
    /// `a && b`.
    And(Box<Expr>, Box<Expr>),
    /// `a || b`.
    Or(Box<Expr>, Box<Expr>),
    /// `a ? b : c`.
    Conditional(Box<[Expr; 3]>),
    /// `a == b`, or `a != b` when the flag is false.
    Equal(Box<Expr>, Box<Expr>, bool),
    /// `<`, `<=`, `>`, `>=`: which orderings count as true.
    Compare(Box<Expr>, Box<Expr>, &'static [std::cmp::Ordering]),
    /// `+ - * / %`.
    Arithmetic(char, Box<Expr>, Box<Expr>),
    /// `a in b`.
    In(Box<Expr>, Box<Expr>),
    /// A list; flagged items are optional.
    List(Vec<(Expr, bool)>),
    /// A map; flagged values are optional.
    Map(Vec<(Expr, Expr, bool)>),
    /// A macro over a list or map.
    Loop(Box<Loop>),
    /// `target.optMap(x, body)`, or `optFlatMap` with the flag.
    MapOptional(Box<Expr>, usize, Box<Expr>, bool),
    /// Any other function; the flag tells a member call.
    Call(String, Vec<Expr>, bool),
}

/// A macro over a list or map.
#[derive(Debug)]
pub struct Loop {
    /// Which.
    pub kind: LoopKind,
    /// What it goes over.
    pub range: Expr,
    /// Place of the first loop variable on the stack.
    pub slot: usize,
    /// Whether it has two loop variables: index or key, and value.
    pub two: bool,
    /// Condition of `map` with three arguments and of `transform…`.
    pub filter: Option<Expr>,
    /// What is computed for each item.
    pub body: Expr,
}

/// The macros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopKind {
    /// `all`.
    All,
    /// `exists`.
    Exists,
    /// `exists_one` and `existsOne`.
    ExistsOne,
    /// `filter`.
    Filter,
    /// `map` and `transformList`.
    Map,
    /// `transformMap`.
    TransformMap,
    /// `transformMapEntry`.
    TransformMapEntry,
}
