//! From source to checked program: parsing, types, cost.

use super::cost::{self, Operand, Origin, Size};
use super::parse::{self, Ast, AstKind};
use super::program::{Expr, Loop, LoopKind};
use super::signatures;
use super::types::{Bindings, Declared, Type};
use super::value::Val;

/// A variable that a program may use.
#[derive(Clone, Debug)]
pub struct Variable<'n> {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type<'n>,
    /// The schema behind it.
    pub declared: Option<Declared<'n>>,
}

/// What checking an expression tells.
#[derive(Debug)]
pub struct Checked<'n> {
    /// The program.
    pub expr: Expr,
    /// Type of the result.
    pub kind: Type<'n>,
    /// Worst cost.
    pub cost: u64,
    /// Which variables occur.
    pub used: Vec<bool>,
    origin: Origin<'n>,
    size: Option<Size>,
}

/// Compiles `source`.
///
/// # Errors
/// The complaints with their places, as the server prints them after `compilation failed: `.
pub fn compile<'n>(source: &str, variables: &[Variable<'n>]) -> Result<Checked<'n>, String> {
    let ast = parse::parse(source).map_err(|error| complaint(source, error.offset, &error.message))?;
    let mut checker =
        Checker { source, variables, locals: Vec::new(), errors: Vec::new(), used: vec![false; variables.len()] };
    let mut checked = checker.check(&ast);
    if checker.errors.is_empty() {
        checked.used = checker.used;
        return Ok(checked);
    }
    checker.errors.sort();
    Err(checker.errors.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n"))
}

fn complaint(source: &str, offset: usize, message: &str) -> String {
    let before: String = source.chars().take(offset).collect();
    let line = before.matches('\n').count();
    let column = before.chars().rev().take_while(|character| *character != '\n').count();
    let text = source.lines().nth(line).unwrap_or_default();
    format!("ERROR: <input>:{}:{}: {message}\n | {text}\n | {}^", line + 1, column + 1, ".".repeat(column))
}

struct Local<'n> {
    name: String,
    kind: Type<'n>,
    origin: Origin<'n>,
}

struct Checker<'n, 'a> {
    source: &'a str,
    variables: &'a [Variable<'n>],
    locals: Vec<Local<'n>>,
    errors: Vec<(usize, String)>,
    used: Vec<bool>,
}

/// The result where an error was noted: anything goes, so that one mistake makes one complaint.
fn broken<'n>() -> Checked<'n> {
    leaf(Expr::Literal(Val::Null), Type::Dyn, 0)
}

fn leaf<'n>(expr: Expr, kind: Type<'n>, cost: u64) -> Checked<'n> {
    Checked { expr, kind, cost, used: Vec::new(), origin: Origin::Elsewhere, size: None }
}

impl<'n> Checked<'n> {
    fn operand(&self) -> Operand<'_, 'n> {
        Operand { kind: &self.kind, origin: self.origin, size: self.size }
    }
}

fn add(costs: &[u64]) -> u64 {
    costs.iter().fold(0, |sum, cost| sum.saturating_add(*cost))
}

impl<'n> Checker<'n, '_> {
    fn error(&mut self, offset: usize, message: &str) -> Checked<'n> {
        self.errors.push((offset, complaint(self.source, offset, message)));
        broken()
    }

    fn check(&mut self, ast: &Ast) -> Checked<'n> {
        match &ast.kind {
            AstKind::Literal(value) => constant(value),
            AstKind::Name(name) => self.identifier(ast.offset, name),
            AstKind::Select(target, field, optional) => {
                if let Some(checked) = self.type_name(ast) {
                    return checked;
                }
                let target = self.check(target);
                self.select(ast.offset, target, field, *optional)
            }
            AstKind::Call(target, name, args) => self.call(ast.offset, target.as_deref(), name, args),
            AstKind::List(items) => {
                let mut kind = Type::Dyn;
                let mut total = cost::LIST;
                let mut parts = Vec::new();
                for (index, (item, optional)) in items.iter().enumerate() {
                    let checked = self.check(item);
                    let found = if *optional { self.unwrapped(&checked.kind, item.offset) } else { checked.kind };
                    kind = if index == 0 { found } else { self.same(kind, found, item.offset) };
                    total = add(&[total, checked.cost]);
                    parts.push((checked.expr, *optional));
                }
                let size = Some(Size::exactly(parts.len()));
                Checked { size, ..leaf(Expr::List(parts), Type::List(Box::new(kind)), total) }
            }
            AstKind::Map(entries) => self.map(entries),
            AstKind::Message(name) => {
                self.error(ast.offset, &format!("undeclared reference to '{name}' (in container '')"))
            }
        }
    }

    fn map(&mut self, entries: &[(Ast, Ast, bool)]) -> Checked<'n> {
        let (mut key_kind, mut value_kind) = (Type::Dyn, Type::Dyn);
        let mut parts = Vec::new();
        let mut total = cost::MAP;
        for (index, (key_ast, value_ast, optional)) in entries.iter().enumerate() {
            let (key, value) = (self.check(key_ast), self.check(value_ast));
            let kind = if *optional { self.unwrapped(&value.kind, value_ast.offset) } else { value.kind };
            (key_kind, value_kind) = if index == 0 {
                (key.kind, kind)
            } else {
                (self.same(key_kind, key.kind, key_ast.offset), self.same(value_kind, kind, value_ast.offset))
            };
            total = add(&[total, key.cost, value.cost]);
            parts.push((key.expr, value.expr, *optional));
        }
        let size = Some(Size::exactly(parts.len()));
        Checked { size, ..leaf(Expr::Map(parts), Type::Map(Box::new(key_kind), Box::new(value_kind)), total) }
    }

    fn unwrapped(&mut self, kind: &Type<'n>, offset: usize) -> Type<'n> {
        match kind {
            Type::Optional(inner) => (**inner).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                let message = format!("expected type 'optional_type({other})' but found '{other}'");
                self.error(offset, &message).kind
            }
        }
    }

    /// The common type of the items of a literal.
    fn same(&mut self, left: Type<'n>, right: Type<'n>, offset: usize) -> Type<'n> {
        if left.accepts(&right) {
            return left;
        }
        if right.accepts(&left) {
            return right;
        }
        let message = format!("expected type '{left}' but found '{right}'");
        self.error(offset, &message).kind
    }

    fn identifier(&mut self, offset: usize, name: &str) -> Checked<'n> {
        if let Some(slot) = self.locals.iter().rposition(|local| local.name == name) {
            let local = &self.locals[slot];
            return Checked { origin: local.origin, ..leaf(Expr::Local(slot), local.kind.clone(), cost::ACCESS) };
        }
        if let Some(index) = self.variables.iter().position(|variable| variable.name == name) {
            self.used[index] = true;
            let variable = &self.variables[index];
            let origin = Origin::declared(variable.declared);
            return Checked { origin, ..leaf(Expr::Variable(index), variable.kind.clone(), cost::ACCESS) };
        }
        if let Some(name) = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type"]
            .into_iter()
            .find(|known| *known == name)
        {
            return leaf(Expr::Literal(Val::Type(name)), Type::Type, cost::ACCESS);
        }
        self.error(offset, &format!("undeclared reference to '{name}' (in container '')"))
    }

    /// Names of types with dots.
    fn type_name(&self, ast: &Ast) -> Option<Checked<'n>> {
        let name = dotted(ast)?;
        let known = ["google.protobuf.Duration", "google.protobuf.Timestamp", "optional_type"];
        let name = known.into_iter().find(|known| **known == *name)?;
        Some(leaf(Expr::Literal(Val::Type(name)), Type::Type, cost::ACCESS))
    }

    fn select(&mut self, offset: usize, target: Checked<'n>, name: &str, optional: bool) -> Checked<'n> {
        let cost = target.cost.saturating_add(cost::ACCESS);
        let Some((json, kind, origin)) = self.field(offset, &target, name) else { return broken() };
        let target = Box::new(target.expr);
        if !optional {
            return Checked { origin, ..leaf(Expr::Select(target, json), kind, cost) };
        }
        let kind = if matches!(kind, Type::Optional(_)) { kind } else { Type::Optional(Box::new(kind)) };
        Checked { origin, ..leaf(Expr::SelectOptional(target, json), kind, cost) }
    }

    /// JSON name, type and origin of a field; a complaint where there is none.
    fn field(&mut self, offset: usize, target: &Checked<'n>, name: &str) -> Option<(String, Type<'n>, Origin<'n>)> {
        match &target.kind {
            Type::Dyn => Some((name.to_owned(), Type::Dyn, Origin::Elsewhere)),
            Type::Map(_, value) => Some((name.to_owned(), (**value).clone(), target.origin.element())),
            Type::Object(declared) => {
                match declared.field(name).and_then(|(json, part)| Some((json, part.kind()?, part))) {
                    Some((json, kind, part)) => Some((json, kind, Origin::Declared(part))),
                    None => {
                        self.error(offset, &format!("undefined field '{name}'"));
                        None
                    }
                }
            }
            Type::Optional(inner) => {
                let unwrapped =
                    Checked { origin: target.origin, ..leaf(Expr::Literal(Val::Null), (**inner).clone(), 0) };
                let (json, kind, origin) = self.field(offset, &unwrapped, name)?;
                let kind = match kind {
                    Type::Optional(inner) => Type::Optional(inner),
                    other => Type::Optional(Box::new(other)),
                };
                Some((json, kind, origin))
            }
            other => {
                self.error(offset, &format!("type '{other}' does not support field selection"));
                None
            }
        }
    }

    fn call(&mut self, offset: usize, target: Option<&Ast>, name: &str, args: &[Ast]) -> Checked<'n> {
        if let Some(target) = target {
            if let Some(prefix) = dotted(target)
                && !self.is_variable(target)
                && signatures::overloads(&format!("{prefix}.{name}")).is_some()
            {
                return self.function(offset, &format!("{prefix}.{name}"), None, args);
            }
            if let Some(checked) = self.receiver_macro(offset, name, target, args) {
                return checked;
            }
            return self.function(offset, name, Some(target), args);
        }
        if let ("has", [argument]) = (name, args) {
            let AstKind::Select(target, field, false) = &argument.kind else {
                return self.error(argument.offset, "invalid argument to has() macro");
            };
            let target = self.check(target);
            let cost = target.cost;
            return match self.field(argument.offset, &target, field) {
                Some((json, ..)) => leaf(Expr::Has(Box::new(target.expr), json), Type::Bool, cost),
                None => broken(),
            };
        }
        self.function(offset, name, None, args)
    }

    fn is_variable(&self, ast: &Ast) -> bool {
        let mut ast = ast;
        while let AstKind::Select(target, ..) = &ast.kind {
            ast = target;
        }
        let AstKind::Name(name) = &ast.kind else { return false };
        self.locals.iter().any(|local| &local.name == name)
            || self.variables.iter().any(|variable| variable.name == name)
    }

    fn receiver_macro(&mut self, offset: usize, name: &str, target: &Ast, args: &[Ast]) -> Option<Checked<'n>> {
        let (kind, names, filter, body) = match (name, args) {
            ("all", [a, body]) => (LoopKind::All, vec![a], None, body),
            ("all", [a, b, body]) => (LoopKind::All, vec![a, b], None, body),
            ("exists", [a, body]) => (LoopKind::Exists, vec![a], None, body),
            ("exists", [a, b, body]) => (LoopKind::Exists, vec![a, b], None, body),
            ("exists_one" | "existsOne", [a, body]) => (LoopKind::ExistsOne, vec![a], None, body),
            ("exists_one" | "existsOne", [a, b, body]) => (LoopKind::ExistsOne, vec![a, b], None, body),
            ("filter", [a, body]) => (LoopKind::Filter, vec![a], None, body),
            ("map", [a, body]) => (LoopKind::Map, vec![a], None, body),
            ("map", [a, filter, body]) => (LoopKind::Map, vec![a], Some(filter), body),
            ("transformList", [a, b, body]) => (LoopKind::Map, vec![a, b], None, body),
            ("transformList", [a, b, filter, body]) => (LoopKind::Map, vec![a, b], Some(filter), body),
            ("transformMap", [a, b, body]) => (LoopKind::TransformMap, vec![a, b], None, body),
            ("transformMap", [a, b, filter, body]) => (LoopKind::TransformMap, vec![a, b], Some(filter), body),
            ("transformMapEntry", [a, b, body]) => (LoopKind::TransformMapEntry, vec![a, b], None, body),
            ("transformMapEntry", [a, b, filter, body]) => {
                (LoopKind::TransformMapEntry, vec![a, b], Some(filter), body)
            }
            ("optMap" | "optFlatMap", [variable, body]) => {
                return Some(self.map_optional(offset, name, target, variable, body));
            }
            _ => return None,
        };
        Some(self.comprehension(offset, kind, target, &names, filter, body))
    }

    fn map_optional(&mut self, offset: usize, name: &str, target: &Ast, variable: &Ast, body: &Ast) -> Checked<'n> {
        let target = self.check(target);
        let inner = match &target.kind {
            Type::Optional(inner) => (**inner).clone(),
            _ => Type::Dyn,
        };
        let AstKind::Name(variable) = &variable.kind else {
            return self.error(offset, &format!("{name}() variable name must be a simple identifier"));
        };
        let slot = self.locals.len();
        self.locals.push(Local { name: variable.clone(), kind: inner, origin: target.origin });
        let body = self.check(body);
        self.locals.pop();
        let flat = name == "optFlatMap";
        let kind = if flat { body.kind.clone() } else { Type::Optional(Box::new(body.kind.clone())) };
        let cost = add(&[target.cost, target.cost, body.cost, 3]);
        leaf(Expr::MapOptional(Box::new(target.expr), slot, Box::new(body.expr), flat), kind, cost)
    }

    fn comprehension(
        &mut self,
        offset: usize,
        kind: LoopKind,
        range: &Ast,
        names: &[&Ast],
        filter: Option<&Ast>,
        body: &Ast,
    ) -> Checked<'n> {
        let range_offset = range.offset;
        let range = self.check(range);
        let element = range.origin.element();
        let (first, second) = match &range.kind {
            Type::List(item) if names.len() == 1 => (((**item).clone(), element), None),
            Type::List(item) => ((Type::Int, Origin::Elsewhere), Some(((**item).clone(), element))),
            Type::Map(key, value) => {
                (((**key).clone(), Origin::Key), Some(((**value).clone(), element)).filter(|_| names.len() == 2))
            }
            Type::Dyn => {
                ((Type::Dyn, Origin::Elsewhere), Some((Type::Dyn, Origin::Elsewhere)).filter(|_| names.len() == 2))
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return self.error(range_offset, &message);
            }
        };
        let slot = self.locals.len();
        for (name, (kind, origin)) in names.iter().zip([Some(first), second].into_iter().flatten()) {
            let AstKind::Name(name) = &name.kind else {
                self.locals.truncate(slot);
                return self.error(offset, "argument must be a simple name");
            };
            self.locals.push(Local { name: name.clone(), kind, origin });
        }
        let filter = filter.map(|filter| (filter.offset, self.check(filter)));
        let body_offset = body.offset;
        let body = self.check(body);
        self.locals.truncate(slot);
        if let Some((offset, filter)) = &filter
            && !Type::Bool.accepts(&filter.kind)
        {
            self.mismatch(*offset, "_?_:_", false, std::slice::from_ref(&filter.kind));
        }
        let decides = matches!(kind, LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter);
        if decides && !Type::Bool.accepts(&body.kind) {
            let operator = match kind {
                LoopKind::All => "_&&_",
                LoopKind::Exists => "_||_",
                _ => "_?_:_",
            };
            let shown = [Type::Bool, body.kind.clone()];
            self.mismatch(body_offset, operator, false, &shown);
        }
        let result = match kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => Type::Bool,
            LoopKind::Filter => match &range.kind {
                Type::Map(key, _) => Type::List(key.clone()),
                other => other.clone(),
            },
            LoopKind::Map => Type::List(Box::new(body.kind.clone())),
            LoopKind::TransformMap => match &range.kind {
                Type::Map(key, _) => Type::Map(key.clone(), Box::new(body.kind.clone())),
                _ => Type::Map(Box::new(Type::Int), Box::new(body.kind.clone())),
            },
            LoopKind::TransformMapEntry => body.kind.clone(),
        };
        // What the loop adds to its body per item, and once, in the expansion of each macro.
        let (start, per_item) = match kind {
            LoopKind::All => (1, 3),
            LoopKind::Exists => (1, 4),
            LoopKind::ExistsOne => (2, 2),
            LoopKind::Filter => (cost::LIST + 1, cost::LIST + 3),
            LoopKind::Map => (cost::LIST + 1, cost::LIST + 2),
            LoopKind::TransformMap | LoopKind::TransformMapEntry => (cost::MAP + 1, cost::MAP + 2),
        };
        let step = add(&[per_item, body.cost, filter.as_ref().map_or(0, |(_, filter)| filter.cost)]);
        let total = add(&[range.cost, start, range.operand().estimate().max.saturating_mul(step)]);
        let looped = Loop {
            kind,
            range: range.expr,
            slot,
            two: names.len() == 2,
            filter: filter.map(|(_, filter)| filter.expr),
            body: body.expr,
        };
        leaf(Expr::Loop(Box::new(looped)), result, total)
    }

    fn mismatch(&mut self, offset: usize, name: &str, member: bool, kinds: &[Type<'n>]) -> Checked<'n> {
        let shown: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let applied = match shown.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.error(offset, &format!("found no matching overload for '{name}' applied to '{applied}'"))
    }

    fn function(&mut self, offset: usize, name: &str, target: Option<&Ast>, args: &[Ast]) -> Checked<'n> {
        let member = target.is_some();
        let Some(overloads) = signatures::overloads(name) else {
            args.iter().chain(target).for_each(|argument| {
                self.check(argument);
            });
            return self.error(offset, &format!("undeclared reference to '{name}' (in container '')"));
        };
        let operands: Vec<Checked<'n>> = target.into_iter().chain(args).map(|argument| self.check(argument)).collect();
        let kinds: Vec<Type<'n>> = operands.iter().map(|operand| operand.kind.clone()).collect();
        let mut result: Option<Type<'n>> = None;
        for overload in overloads {
            if overload.member != member || overload.parameters.len() != kinds.len() {
                continue;
            }
            let mut bindings = Bindings::default();
            if overload.parameters.iter().zip(&kinds).all(|(parameter, kind)| bindings.accept(parameter, kind)) {
                let found = bindings.resolve(&overload.result);
                result = Some(match result {
                    None => found,
                    Some(before) if before == found => before,
                    Some(_) => Type::Dyn,
                });
            }
        }
        let Some(kind) = result else { return self.mismatch(offset, name, member, &kinds) };
        let operand_costs = operands.iter().fold(0_u64, |sum, operand| sum.saturating_add(operand.cost));
        let (own, size) = match name {
            "_&&_" | "_||_" => (0, None),
            "_?_:_" => {
                // Only one branch runs.
                let cheaper = operands[1].cost.min(operands[2].cost);
                let size = operands[1].operand().estimate().union(operands[2].operand().estimate());
                let total = operand_costs.saturating_sub(cheaper);
                let origin = Origin::Elsewhere;
                return Checked { size: Some(size), origin, ..leaf(lower(name, member, operands), kind, total) };
            }
            _ => cost::call(name, &operands.iter().map(Checked::operand).collect::<Vec<_>>()),
        };
        let origin = match name {
            "_[_]" | "_[?_]" => operands[0].origin.element(),
            "orValue" | "value" => operands[0].origin,
            _ => Origin::Elsewhere,
        };
        Checked { size, origin, ..leaf(lower(name, member, operands), kind, operand_costs.saturating_add(own)) }
    }
}

/// `a.b.c` as text.
fn dotted(ast: &Ast) -> Option<String> {
    match &ast.kind {
        AstKind::Name(name) => Some(name.clone()),
        AstKind::Select(target, field, false) => Some(format!("{}.{field}", dotted(target)?)),
        _ => None,
    }
}

fn constant<'n>(value: &Val<'static>) -> Checked<'n> {
    let (kind, size) = match value {
        Val::Bool(_) => (Type::Bool, 1),
        Val::Int(_) => (Type::Int, 1),
        Val::Uint(_) => (Type::Uint, 1),
        Val::Double(_) => (Type::Double, 1),
        Val::String(text) => (Type::String, text.chars().count()),
        Val::Bytes(bytes) => (Type::Bytes, bytes.len()),
        _ => (Type::Null, 1),
    };
    Checked { size: Some(Size::exactly(size)), ..leaf(Expr::Literal(value.clone()), kind, 0) }
}

/// The program of a call whose operands are checked.
fn lower(name: &str, member: bool, operands: Vec<Checked<'_>>) -> Expr {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let mut exprs: Vec<Expr> = operands.into_iter().map(|operand| operand.expr).collect();
    if exprs.len() == 3 && name == "_?_:_" {
        let last = exprs.pop().expect("there are three");
        let middle = exprs.pop().expect("there are three");
        let first = exprs.pop().expect("there are three");
        return Expr::Conditional(Box::new([first, middle, last]));
    }
    if exprs.len() == 1 && matches!(name, "!_" | "-_") {
        let only = Box::new(exprs.pop().expect("there is one"));
        return if name == "!_" { Expr::Not(only) } else { Expr::Negate(only) };
    }
    if exprs.len() == 2 && name.starts_with(['_', '@']) {
        let right = Box::new(exprs.pop().expect("there are two"));
        let left = Box::new(exprs.pop().expect("there are two"));
        return match name {
            "_&&_" => Expr::And(left, right),
            "_||_" => Expr::Or(left, right),
            "_==_" => Expr::Equal(left, right, true),
            "_!=_" => Expr::Equal(left, right, false),
            "_<_" => Expr::Compare(left, right, &[Less]),
            "_<=_" => Expr::Compare(left, right, &[Less, Equal]),
            "_>_" => Expr::Compare(left, right, &[Greater]),
            "_>=_" => Expr::Compare(left, right, &[Greater, Equal]),
            "_[_]" => Expr::Index(left, right),
            "_[?_]" => Expr::IndexOptional(left, right),
            "@in" => Expr::In(left, right),
            operator => Expr::Arithmetic(operator.chars().nth(1).unwrap_or('+'), left, right),
        };
    }
    Expr::Call(name.to_owned(), exprs, member)
}
