//! Running a checked program.

use std::sync::Arc;

use super::functions;
use super::library;
use super::program::{Expr, Loop, LoopKind};
use super::value::{Failure, Val, no_such_key, no_such_overload};

/// Runs `expr` with its variables; `None` is a variable without a value.
///
/// # Errors
/// What the server reports when an expression fails rather than being false.
pub fn run<'a>(expr: &'a Expr, variables: &[Option<Val<'a>>]) -> Result<Val<'a>, Failure> {
    Run { variables, locals: Vec::new() }.eval(expr)
}

struct Run<'a, 'v> {
    variables: &'v [Option<Val<'a>>],
    locals: Vec<Val<'a>>,
}

impl<'a> Run<'a, '_> {
    fn eval(&mut self, expr: &'a Expr) -> Result<Val<'a>, Failure> {
        Ok(match expr {
            Expr::Literal(value) => value.clone(),
            Expr::Variable(index) => match &self.variables[*index] {
                Some(value) => value.clone(),
                None => return Err("no such attribute(s): oldSelf".to_owned()),
            },
            Expr::Local(slot) => self.locals[*slot].clone(),
            Expr::Select(target, name) => {
                let target = self.eval(target)?;
                let found = target.get(name)?;
                match (target, found) {
                    (Val::Optional(_), found) => Val::Optional(found.map(Arc::new)),
                    (_, Some(found)) => found,
                    (_, None) => return Err(no_such_key(name)),
                }
            }
            Expr::Has(target, name) => Val::Bool(self.eval(target)?.get(name)?.is_some()),
            Expr::SelectOptional(target, name) => match self.eval(target)?.get(name)? {
                Some(optional @ Val::Optional(_)) => optional,
                found => Val::Optional(found.map(Arc::new)),
            },
            Expr::Index(target, key) => {
                let (target, key) = (self.eval(target)?, self.eval(key)?);
                match target.index(&key)? {
                    Some(found) => found,
                    None => return Err(missing(&target, &key)),
                }
            }
            Expr::IndexOptional(target, key) => {
                let (target, key) = (self.eval(target)?, self.eval(key)?);
                Val::Optional(target.index(&key)?.map(Arc::new))
            }
            Expr::Not(inner) => match self.eval(inner)? {
                Val::Bool(flag) => Val::Bool(!flag),
                _ => return Err(no_such_overload()),
            },
            Expr::Negate(inner) => match self.eval(inner)? {
                Val::Int(number) => Val::Int(number.checked_neg().ok_or_else(functions::overflow)?),
                Val::Double(number) => Val::Double(-number),
                _ => return Err(no_such_overload()),
            },
            Expr::And(left, right) => return self.logic(left, right, false),
            Expr::Or(left, right) => return self.logic(left, right, true),
            Expr::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                match self.eval(condition)? {
                    Val::Bool(true) => return self.eval(yes),
                    Val::Bool(false) => return self.eval(no),
                    _ => return Err(no_such_overload()),
                }
            }
            Expr::Equal(left, right, wanted) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                Val::Bool(left.equals(&right) == *wanted)
            }
            Expr::Compare(left, right, wanted) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                match left.compare(&right) {
                    Some(order) => Val::Bool(wanted.contains(&order)),
                    None if [&left, &right]
                        .into_iter()
                        .any(|side| matches!(side, Val::Double(number) if number.is_nan())) =>
                    {
                        return Err("NaN values cannot be ordered".to_owned());
                    }
                    None => return Err(no_such_overload()),
                }
            }
            Expr::Arithmetic(operator, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                functions::arithmetic(*operator, left, right)?
            }
            Expr::In(item, range) => {
                let (item, range) = (self.eval(item)?, self.eval(range)?);
                Val::Bool(match &range {
                    Val::Array(..) | Val::List(_) => range.items()?.iter().any(|known| known.equals(&item)),
                    Val::Object(..) | Val::Map(_) => match (&range, &item) {
                        (Val::Object(..), Val::String(name)) => range.get(name)?.is_some(),
                        (Val::Object(..), _) => false,
                        _ => range.index(&item)?.is_some(),
                    },
                    _ => return Err(no_such_overload()),
                })
            }
            Expr::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match (self.eval(item)?, optional) {
                        (Val::Optional(inner), true) => out.extend(inner.map(|inner| (*inner).clone())),
                        (value, _) => out.push(value),
                    }
                }
                Val::list(out)
            }
            Expr::Map(entries) => {
                let mut out: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(entries.len());
                for (key, value, optional) in entries {
                    let key = self.eval(key)?;
                    if out.iter().any(|(known, _)| known.equals(&key)) {
                        return Err(format!("Failed with repeated key: {}", functions::shown(&key)));
                    }
                    match (self.eval(value)?, optional) {
                        (Val::Optional(inner), true) => out.extend(inner.map(|inner| (key, (*inner).clone()))),
                        (value, _) => out.push((key, value)),
                    }
                }
                Val::Map(Arc::new(out))
            }
            Expr::Loop(looped) => return self.loop_over(looped),
            Expr::MapOptional(target, slot, body, flat) => match self.eval(target)? {
                Val::Optional(None) => Val::Optional(None),
                Val::Optional(Some(inner)) => {
                    self.locals.truncate(*slot);
                    self.locals.push((*inner).clone());
                    let result = self.eval(body);
                    self.locals.truncate(*slot);
                    match (result?, flat) {
                        (optional @ Val::Optional(_), true) => optional,
                        (_, true) => return Err(no_such_overload()),
                        (value, false) => Val::Optional(Some(Arc::new(value))),
                    }
                }
                _ => return Err(no_such_overload()),
            },
            Expr::Call(name, args, member) => return self.call(name, args, *member),
        })
    }

    /// `&&` (`decisive` false) and `||` (true): one decisive side is enough, whatever the other is.
    fn logic(&mut self, left: &'a Expr, right: &'a Expr, decisive: bool) -> Result<Val<'a>, Failure> {
        let left = self.eval(left);
        if matches!(left, Ok(Val::Bool(flag)) if flag == decisive) {
            return left;
        }
        let right = self.eval(right);
        match (left, right) {
            (_, Ok(Val::Bool(flag))) if flag == decisive => Ok(Val::Bool(decisive)),
            (Ok(Val::Bool(_)), Ok(Val::Bool(_))) => Ok(Val::Bool(!decisive)),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            _ => Err(no_such_overload()),
        }
    }

    fn call(&mut self, name: &str, args: &'a [Expr], member: bool) -> Result<Val<'a>, Failure> {
        // `or` and `orValue` look at their argument only when they need it.
        if let ("or" | "orValue", [target, alternative]) = (name, args) {
            return match self.eval(target)? {
                Val::Optional(None) => self.eval(alternative),
                Val::Optional(Some(inner)) if name == "orValue" => Ok((*inner).clone()),
                optional @ Val::Optional(_) => Ok(optional),
                _ => Err(no_such_overload()),
            };
        }
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.eval(arg)?);
        }
        match functions::call(name, &values) {
            Some(result) => result,
            None => library::call(name, &values, member),
        }
    }

    fn loop_over(&mut self, looped: &'a Loop) -> Result<Val<'a>, Failure> {
        let range = self.eval(&looped.range)?;
        let pairs: Vec<(Val<'a>, Option<Val<'a>>)> = match &range {
            Val::Array(..) | Val::List(_) if looped.two => {
                range.items()?.into_iter().zip(0_i64..).map(|(item, index)| (Val::Int(index), Some(item))).collect()
            }
            Val::Array(..) | Val::List(_) => range.items()?.into_iter().map(|item| (item, None)).collect(),
            Val::Object(..) | Val::Map(_) => {
                range.entries()?.into_iter().map(|(key, value)| (key, Some(value).filter(|_| looped.two))).collect()
            }
            _ => return Err(no_such_overload()),
        };
        let mut failure = None;
        let mut matches = 0;
        let mut out = Vec::new();
        let mut entries = Vec::new();
        for (first, second) in pairs {
            self.locals.truncate(looped.slot);
            self.locals.push(first.clone());
            self.locals.extend(second);
            if let Some(filter) = &looped.filter {
                match self.eval(filter)? {
                    Val::Bool(true) => {}
                    Val::Bool(false) => continue,
                    _ => return Err(no_such_overload()),
                }
            }
            let result = self.eval(&looped.body);
            match (looped.kind, result) {
                (LoopKind::All, Ok(Val::Bool(true))) | (LoopKind::Exists, Ok(Val::Bool(false))) => {}
                (LoopKind::All, Ok(Val::Bool(false))) => return Ok(self.leave(looped, Val::Bool(false))),
                (LoopKind::Exists, Ok(Val::Bool(true))) => return Ok(self.leave(looped, Val::Bool(true))),
                (LoopKind::All | LoopKind::Exists, Err(why)) => {
                    failure.get_or_insert(why);
                }
                (LoopKind::All | LoopKind::Exists, Ok(_)) => {
                    failure.get_or_insert_with(no_such_overload);
                }
                (_, Err(why)) => return Err(why),
                (LoopKind::ExistsOne, Ok(Val::Bool(flag))) => matches += usize::from(flag),
                (LoopKind::Filter, Ok(Val::Bool(flag))) => {
                    if flag {
                        out.push(first);
                    }
                }
                (LoopKind::ExistsOne | LoopKind::Filter, Ok(_)) => return Err(no_such_overload()),
                (LoopKind::Map, Ok(value)) => out.push(value),
                (LoopKind::TransformMap, Ok(value)) => entries.push((first, value)),
                (LoopKind::TransformMapEntry, Ok(value)) => entries.extend(value.entries()?),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let result = match looped.kind {
            LoopKind::All => Val::Bool(true),
            LoopKind::Exists => Val::Bool(false),
            LoopKind::ExistsOne => Val::Bool(matches == 1),
            LoopKind::Filter | LoopKind::Map => Val::list(out),
            LoopKind::TransformMap | LoopKind::TransformMapEntry => Val::Map(Arc::new(entries)),
        };
        Ok(self.leave(looped, result))
    }

    fn leave(&mut self, looped: &Loop, result: Val<'a>) -> Val<'a> {
        self.locals.truncate(looped.slot);
        result
    }
}

fn missing(target: &Val<'_>, key: &Val<'_>) -> Failure {
    match (target, key) {
        (Val::Array(..) | Val::List(_), _) => format!("index out of bounds: {}", functions::shown(key)),
        (_, key) => no_such_key(&functions::shown(key)),
    }
}
